"""A confusion matrix as a picture. Rows are true labels, columns answers; C classes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

ACCENT = (47, 111, 115)
LEAST_SIDE = 720  # pixels


def shares(counts_CC: np.ndarray) -> np.ndarray:
    """(C, C) share of each true label's clips that got each answer."""
    return counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)


def mask(share_CC: np.ndarray) -> bytes:
    """A PNG of a pixel per cell whose opacity is the share; who shows it gives it its colour."""
    pixels = np.zeros((*share_CC.shape, 4), np.uint8)
    pixels[..., 3] = _strength(share_CC) * 255
    return _png(Image.fromarray(pixels))


def picture(counts_CC: np.ndarray) -> bytes:
    """A PNG that stands by itself: dark cells on white, at least 720 pixels a side."""
    strength_CC1 = _strength(shares(counts_CC))[..., None]
    pixels = np.round(255 + strength_CC1 * (np.array(ACCENT) - 255)).astype(np.uint8)
    scale = -(-LEAST_SIDE // len(counts_CC))
    image = Image.fromarray(pixels)
    return _png(image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST))


def _strength(share_CC: np.ndarray) -> np.ndarray:
    return share_CC**0.5  # the root lets rare confusions be seen


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
