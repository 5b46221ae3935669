"""A pool of decode processes beside the gateway: no file is ever opened by a decoder in the gateway itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from covr.clips import Clip, DecodeFailure, Sampling
from covr.clips.decode import Decoder
from covr.clips.fetch import on_disk
from covr.clips.isolated import IsolatedDecoder
from covr.errors import UserError
from covr.storage import Place
from serve.problems import Problem

_MIDDLE = Sampling(kind="uniform", num_frames=1)

# Fixed sentences: what a decoder says may hold paths or addresses.
_REFUSALS = {
    "empty": (422, "The file is empty, or holds no frame."),
    "not-a-video": (415, "The file is not a video or image of a kind that is read here."),
    "no-video-stream": (415, "The file has no video stream in a codec that is read here."),
    "over-limit": (422, "The video is over a limit"),
    "corrupt": (422, "The video cannot be decoded."),
    "timeout": (422, "The video takes too long to decode."),
    "crashed": (422, "The video ended the decoder."),
    "out-of-memory": (422, "The video needs too much memory to decode."),
}


class Decoders:
    """`count` threads, each with a decode process of its own; what is more waits its turn."""

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")
        self._own = threading.local()

    async def sent(self, path: Path, sampling: Sampling, decoder: Decoder) -> Clip:
        """The frames of a clip that was sent, uint8 RGB (T, 3, H, W), and its facts.

        Raises:
            Problem: 415 or 422, with the reason.
        """
        try:
            return await self._run(Place(path), sampling, None, None, decoder)
        except DecodeFailure as failure:
            status, detail = _REFUSALS[failure.reason]
            if failure.reason == "over-limit":
                detail = f"{detail}: {failure.detail}."
            raise Problem(status, failure.reason, detail) from None

    async def middle(self, place: Place, start_s: float | None, end_s: float | None) -> np.ndarray:
        """The middle frame of an indexed clip, uint8 RGB (3, H, W).

        Raises:
            Problem: 404, the file is gone or unreadable.
        """
        try:
            return (await self._run(place, _MIDDLE, start_s, end_s, "decord")).frames[0]
        except (DecodeFailure, UserError):
            raise Problem(404, "no-thumbnail", "The clip's file is gone or cannot be decoded.") from None

    async def _run(
        self, place: Place, sampling: Sampling, start_s: float | None, end_s: float | None, decoder: Decoder
    ) -> Clip:
        """Ended with its caller: the decode process is, where it has begun."""
        loop, running = asyncio.get_running_loop(), _Running()

        def once(path: Path) -> Clip:
            with running.by(self._process(decoder)) as process:
                return process.decode(str(path), sampling, start_s, end_s)

        def decode() -> Clip:
            with on_disk(place) as path:
                try:
                    return once(path)
                except DecodeFailure as failure:
                    if failure.reason != "crashed":
                        raise
                return once(path)  # what ended the process may have been no fault of the file

        try:
            return await loop.run_in_executor(self._threads, decode)
        except asyncio.CancelledError:
            running.end()
            raise

    def _process(self, decoder: Decoder) -> IsolatedDecoder:
        """This thread's own."""
        if not hasattr(self._own, decoder):
            setattr(self._own, decoder, IsolatedDecoder(decoder))
        return getattr(self._own, decoder)


class _Running:
    """A decode that may be ended from another thread, and then costs nothing further."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: IsolatedDecoder | None = None
        self._ended = False

    @contextmanager
    def by(self, process: IsolatedDecoder) -> Iterator[IsolatedDecoder]:
        """While this process decodes."""
        with self._lock:
            if self._ended:
                raise DecodeFailure("crashed", "its caller has gone")
            self._process = process
        try:
            yield process
        finally:
            with self._lock:
                self._process = None

    def end(self) -> None:
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.interrupt()
