"""A still image as a clip of one frame."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from covr.clips.failure import DecodeFailure
from covr.limits import Limits


def read(path: str, limits: Limits) -> np.ndarray:
    """The image as uint8 RGB (1, H, W, 3), turned as its EXIF says; of an animation the first frame.

    Raises:
        DecodeFailure: over-limit, corrupt.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG", "WEBP")) as image:
            width, height = image.size
            if width * height > limits.max_pixels:
                raise DecodeFailure("over-limit", f"{width} x {height} pixels, allowed are {limits.max_pixels}")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[None]
    except Image.DecompressionBombError as error:
        raise DecodeFailure("over-limit", str(error)) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DecodeFailure("corrupt", f"Pillow: {error}") from None
