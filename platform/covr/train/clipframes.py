"""Where stage 1's frames come from: the frame cache, or a decode for every epoch.

Both travel to Ray Data's workers, which keep what they opened from one task to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch

from covr.clips import Sampling
from covr.clips.decode import Decoder
from covr.clips.failure import DecodeFailure
from covr.clips.fetch import on_disk
from covr.clips.isolated import IsolatedDecoder
from covr.clips.resize import Resize
from covr.embed.frames import FrameCache
from covr.errors import UserError
from covr.limits import JOB_LIMITS
from covr.storage import Place


class Frames(Protocol):
    """A picklable source of frames, resized for an encoder."""

    def sample(self, clip_id: str, sampling: Sampling, rng: np.random.Generator | None = None) -> np.ndarray:
        """uint8 (T, 3, H, W); drawn by `rng`, or the middles."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedFrames:
    """Frames that were decoded once and lie in the frame cache at `place`."""

    place: Place

    def sample(self, clip_id: str, sampling: Sampling, rng: np.random.Generator | None = None) -> np.ndarray:
        frames_FCHW = _open_cache(str(self.place)).frames(clip_id)
        return frames_FCHW[sampling.indices(len(frames_FCHW), rng)]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedFrames:
    """Frames decoded each time they are asked for."""

    files: Mapping[str, tuple[str, float | None, float | None]]
    """Clip id to the URI of its file, start and end in seconds."""
    decoder: Decoder
    resize: Resize

    def sample(self, clip_id: str, sampling: Sampling, rng: np.random.Generator | None = None) -> np.ndarray:
        uri, start_s, end_s = self.files[clip_id]
        seed = None if rng is None else int(rng.integers(1 << 31))
        try:
            with on_disk(Place(uri)) as path:
                clip = _open_decoder(self.decoder).decode(str(path), sampling, start_s, end_s, seed)
        except DecodeFailure as failure:
            raise UserError(
                f"a training clip cannot be decoded ({failure})",
                clip_id,
                "with model.pretrain.cache_frames above 0 such clips are put aside",
            ) from None
        return self.resize(torch.from_numpy(clip.frames)[None])[0].numpy()


@lru_cache(maxsize=1)
def _open_cache(place: str) -> FrameCache:
    return FrameCache.open(Place(place))


@lru_cache(maxsize=1)
def _open_decoder(decoder: Decoder) -> IsolatedDecoder:
    return IsolatedDecoder(decoder, JOB_LIMITS)
