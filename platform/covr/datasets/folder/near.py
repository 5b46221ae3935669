"""Near-duplicates: clips that show the same, re-encoded, resized or renamed, found by a perceptual hash.

A difference hash (Krawetz) of a few frames: whether the picture, averaged to 17 x 17 cells, grows brighter from cell to
cell, across and down. Steps of up to `_FLAT` levels count as none, since encoding alone makes them.

    N clips  H bits
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

FRAMES = 5
_SIDE = 16
_FLAT = 4
_BLOCK = 1024


def bits(frames_TCHW: np.ndarray) -> np.ndarray:
    """The hash of a clip's frames (uint8 RGB), bool (H,)."""
    found = []
    for frame in frames_TCHW:
        image = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))).convert("L")
        cells = np.asarray(image.resize((_SIDE + 1, _SIDE + 1), Image.Resampling.BOX)).astype(np.int16)
        found.append(np.diff(cells, axis=1)[:_SIDE] > _FLAT)
        found.append(np.diff(cells, axis=0)[:, :_SIDE] > _FLAT)
    return np.concatenate([part.ravel() for part in found])


def near_pairs(bits_NH: np.ndarray, share: float) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, whose hashes differ in at most `share` of their bits."""
    signs_NH = np.where(bits_NH, 1, -1).astype(np.float32)
    least = bits_NH.shape[1] - 2 * int(share * bits_NH.shape[1])  # equal bits count for one, others against
    for start in range(0, len(signs_NH), _BLOCK):
        rows, columns = np.nonzero(signs_NH[start : start + _BLOCK] @ signs_NH[start:].T >= least)
        for i, j in zip((rows + start).tolist(), (columns + start).tolist(), strict=True):
            if i < j:
                yield i, j
