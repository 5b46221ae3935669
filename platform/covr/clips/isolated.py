"""Decoding in an expendable process: a hang, a crash or a memory bomb costs one clip and nothing else."""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

import covr
from covr.clips.child import GRACE_S
from covr.clips.decode import Clip, ClipInfo, Decoder
from covr.clips.failure import DecodeFailure
from covr.clips.sampling import Sampling
from covr.errors import UserError
from covr.limits import LIMITS, Limits

_START_S = 60.0  # generous: starting imports two decoders from what may be a cold disk


class IsolatedDecoder:
    """`covr.clips.decode` in a process of its own, started when first needed and used for many clips.

    The process is ended when a decode misses `limits.decode_timeout_s`, and replaced after that, after it died, after
    `clips_per_process` clips and once it holds `limits.decode_memory_bytes`. It ends by itself when its parent does:
    at the end of its input, or within the deadline where a decode hangs. One caller at a time; needs Linux.

    Example:
        with IsolatedDecoder() as decoder:
            clip = decoder.decode("clip.mp4", Sampling(num_frames=12))
    """

    def __init__(self, decoder: Decoder = "decord", limits: Limits = LIMITS, clips_per_process: int = 2000) -> None:
        self.decoder, self.limits, self.clips_per_process = decoder, limits, clips_per_process
        self._process: subprocess.Popen[bytes] | None = None
        self._decoded = 0
        self._shared_fd = os.memfd_create("covr-frames")
        os.ftruncate(self._shared_fd, limits.max_decoded_bytes)  # pages come into being when written
        self._shared = mmap.mmap(self._shared_fd, limits.max_decoded_bytes)

    def decode(
        self,
        path: str,
        sampling: Sampling,
        start_s: float | None = None,
        end_s: float | None = None,
        rng_seed: int | None = None,
        part_from: int | None = None,
    ) -> Clip:
        """As `covr.clips.decode`; its frames are contiguous and the caller's own.

        Raises:
            DecodeFailure: also with the reasons timeout, crashed and out-of-memory.
            UserError: as `decode`.
        """
        reply = self._request(
            self.limits.decode_timeout_s,
            task="decode",
            path=os.path.abspath(path),
            sampling=asdict(sampling),
            start_s=start_s,
            end_s=end_s,
            decoder=self.decoder,
            rng_seed=rng_seed,
            part_from=part_from,
        )
        shape = tuple(reply["shape"])
        clip = Clip(
            frames=np.frombuffer(self._shared, np.uint8, int(np.prod(shape))).reshape(shape).copy(),
            indices=np.array(reply["indices"], np.int64),
            num_sampled=reply["num_sampled"],
            num_frames=reply["num_frames"],
            fps=reply["fps"],
            width=reply["width"],
            height=reply["height"],
        )
        if self._decoded >= self.clips_per_process or reply["resident_bytes"] >= self.limits.decode_memory_bytes:
            self._end()
        return clip

    def probe(self, path: str) -> ClipInfo:
        """As `covr.clips.probe` of a whole file, which may last `limits.max_file_s`.

        Raises:
            DecodeFailure, UserError: as `decode`.
        """
        reply = self._request(self.limits.file_timeout_s, task="probe", path=os.path.abspath(path))
        return ClipInfo(**reply["info"])

    def transcode(self, path: str, target: str, duration_s: float) -> None:
        """As `covr.clips.playable.transcode`, of a file that lasts `duration_s`.

        Raises:
            DecodeFailure, UserError: as `decode`; what is at `target` is then to be removed.
        """
        timeout_s = self.limits.file_timeout_s + 4 * duration_s
        self._request(timeout_s, task="transcode", path=os.path.abspath(path), target=os.path.abspath(target))

    def interrupt(self) -> None:
        """End the process from another thread: its decode fails as crashed, the next one gets another process."""
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """End the process and give the shared memory back."""
        self._end()
        self._shared.close()
        os.close(self._shared_fd)

    def __enter__(self) -> IsolatedDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process that decodes, once there is one."""
        return self._process.pid if self._process else None

    def _request(self, timeout_s: float, **request: object) -> dict:
        """The reply to a task, from a process that is started if there is none."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        self._decoded += 1
        reply = self._ask(process, json.dumps({**request, "timeout_s": timeout_s}).encode() + b"\n", timeout_s)
        if "user_error" in reply:
            raise UserError(*reply["user_error"])
        if "failure" in reply:
            raise DecodeFailure(*reply["failure"])
        return reply

    def _start(self) -> subprocess.Popen[bytes]:
        self._end()
        paths = [str(Path(covr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-m", "covr.clips.child", str(self._shared_fd), json.dumps(asdict(self.limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._shared_fd,),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"},
            bufsize=0,
        )
        self._decoded = 0
        try:
            self._ask(process, b"", _START_S)
        except DecodeFailure as failure:  # not the fault of any clip
            raise RuntimeError(f"the decode process does not start: {failure.detail}") from failure
        return process

    def _ask(self, process: subprocess.Popen[bytes], request: bytes, timeout_s: float) -> dict:
        """Send one line and wait for one line; a process that gives none in time is ended."""
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + timeout_s
        reply = b""
        try:
            process.stdin.write(request)
            while not reply.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                    self._end()
                    raise DecodeFailure("timeout", f"no answer within {timeout_s:g} s")
                block = process.stdout.read(1 << 16)
                if not block:
                    reply = b""
                    break
                reply += block
            if reply:
                return json.loads(reply)
            process.wait(GRACE_S)  # its output has ended, so it is about to
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass  # how it ended is told below
        self._end()
        ended_by = -process.returncode
        if ended_by == signal.SIGALRM:
            raise DecodeFailure("timeout", f"no answer within {timeout_s:g} s")
        name = signal.Signals(ended_by).name if ended_by > 0 else f"exit code {process.returncode}"
        raise DecodeFailure("crashed", f"the decode process ended by {name}")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
