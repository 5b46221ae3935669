"""A clip's middle frame as a small JPEG; the last ones made are kept in memory."""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from typing import Any

import numpy as np
from PIL import Image

from covr.storage import Place
from serve.decoding import Decoders

_SIDE = 320  # longest side, in pixels
_KEPT = 1024  # about 10 KB each


class Thumbnails:
    """Made on demand, least recently asked for dropped first."""

    def __init__(self, decoders: Decoders) -> None:
        self._decoders = decoders
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def of(self, clip: dict[str, Any], place: Place) -> bytes:
        """The JPEG of a row of the clips table whose file is at `place`.

        Raises:
            Problem: the file is gone or cannot be decoded.
        """
        clip_id = clip["clip_id"]
        if clip_id not in self._kept:
            frame_CHW = await self._decoders.middle(place, clip["start_s"], clip["end_s"])
            self._kept[clip_id] = await asyncio.to_thread(_jpeg, frame_CHW)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(clip_id)
        return self._kept[clip_id]

    def forget(self, clip_id: str) -> None:
        """The clip of this id is another one now, or none."""
        self._kept.pop(clip_id, None)


def _jpeg(frame_CHW: np.ndarray) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(frame_CHW.transpose(1, 2, 0)))
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
