"""The expendable process of `covr.clips.isolated`: does what it is asked to until its input ends.

One JSON line in, one JSON line out; frames go through the shared memory that both sides have mapped. Nothing
that this process says is unpickled or executed by the other side.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import sys
from dataclasses import asdict, replace

import numpy as np

from covr.clips.decode import decode, probe
from covr.clips.failure import DecodeFailure
from covr.clips.playable import transcode
from covr.clips.sampling import Sampling
from covr.errors import UserError
from covr.limits import Limits

GRACE_S = 1.0
"""How much later than its parent this process notices a missed deadline; it matters where the parent is gone."""


_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h


def main() -> None:
    """Arguments: the descriptor of the shared memory and the limits as JSON."""
    shared_fd, limits = int(sys.argv[1]), Limits(**json.loads(sys.argv[2]))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not end up among the replies
    shared = mmap.mmap(shared_fd, limits.max_decoded_bytes)
    _limit_memory(limits)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no copy of what was decoded
    _leave_network()
    print("{}", file=replies, flush=True)  # ready: from here on the deadline counts
    for line in sys.stdin:
        # The kernel ends this process when the alarm is due, also in a hung decoder that holds the interpreter's lock.
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request.pop("timeout_s") + GRACE_S)
        reply = _answer(request, shared, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(reply), file=replies, flush=True)


def _leave_network() -> None:
    """Enter a network of its own, without any device, where the kernel lets this process: a decoder asks nobody."""
    unshare = ctypes.CDLL(None).unshare
    if unshare(_CLONE_NEWNET) != 0:  # without privileges it takes a user namespace as well
        unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _limit_memory(limits: Limits) -> None:
    """Let address space grow by twice the memory at which the parent replaces this process, and no further."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + 2 * limits.decode_memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _answer(request: dict, shared: mmap.mmap, limits: Limits) -> dict:
    whole_file = replace(limits, max_duration_s=limits.max_file_s)
    try:
        match request.pop("task"):
            case "probe":
                return {"info": asdict(probe(**request, limits=whole_file))}
            case "transcode":
                transcode(**request, limits=whole_file)
                return {"written": True}
        clip = decode(**{**request, "sampling": Sampling(**request["sampling"])}, limits=limits)
    except DecodeFailure as failure:
        return {"failure": [failure.reason, failure.detail]}
    except UserError as error:
        return {"user_error": [error.what, error.where, error.fix]}
    except MemoryError as error:
        return {"failure": ["out-of-memory", str(error)]}
    except Exception as error:  # a file may provoke anything in the libraries; it costs this file alone
        return {"failure": ["crashed", f"{type(error).__name__}: {error}"]}
    np.copyto(np.frombuffer(shared, np.uint8, clip.frames.size).reshape(clip.frames.shape), clip.frames)
    return {
        "shape": clip.frames.shape,
        "indices": clip.indices.tolist(),
        "num_sampled": clip.num_sampled,
        "num_frames": clip.num_frames,
        "fps": clip.fps,
        "width": clip.width,
        "height": clip.height,
        "resident_bytes": _resident_bytes(),
    }


def _resident_bytes() -> int:
    """Resident memory that is this process's own; the mapped frames do not count."""
    with open("/proc/self/statm") as file:
        _, resident, shared, *_ = (int(field) for field in file.read().split())
    return (resident - shared) * resource.getpagesize()


if __name__ == "__main__":
    main()
