"""A process that changes an index when it is told to, to be killed at any moment: `python writer.py`, JSON lines.

    ["open", root]            -> {"writes": pid}; or {"refused": why}
    ["put", clip_id, seed]    -> {"done": true}, like `remove` and `compact`, once that is on disk

Another is forked for the next `open` once it is dead, which `{"ended": pid}` says: importing anew takes seconds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from entries import TARGET, entry

from covr.errors import UserError
from covr.index.current import Current
from covr.index.live import Live
from covr.index.snapshot import Snapshot
from covr.storage import Place


def say(**reply: object) -> None:
    os.write(1, json.dumps(reply).encode() + b"\n")


def told() -> list:
    """The next command; one at a time is sent."""
    line = os.read(0, 1 << 16)
    return json.loads(line) if line else []


def opened(root: Place) -> Live:
    snapshot = Snapshot.load(Current.read(root).snapshot_place(root), target_fingerprint=TARGET)
    return Live(root / "index", snapshot)


def write(root: Place) -> None:
    try:
        live = opened(root)
    except UserError as refusal:
        say(refused=str(refusal))
        return
    say(writes=os.getpid())
    while command := told():
        match command:
            case ["put", clip_id, seed]:
                live.put(entry(clip_id, seed))
            case ["remove", clip_id]:
                live.remove(clip_id)
            case ["compact"]:  # as `serve.changes` does
                Current(snapshot=live.compact().fingerprint, retriever="r").write(root)
                live.close()
                live = opened(root)
        say(done=True)


def main() -> None:
    while command := told():
        if command[0] != "open":  # it was for one that is dead
            continue
        pid = os.fork()
        if pid == 0:
            write(Place(Path(command[1])))
            os._exit(0)
        os.waitpid(pid, 0)
        say(ended=pid)


if __name__ == "__main__":
    sys.exit(main())
