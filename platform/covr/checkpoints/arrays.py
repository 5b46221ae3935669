"""NumPy's files of one array, read without unpickling."""

from __future__ import annotations

import io
import tokenize

import numpy as np

from covr.errors import UserError
from covr.storage import Place


def read_npy(place: Place) -> np.ndarray:
    """The array of a `.npy` file.

    Raises:
        UserError: no such file, damaged, or one of Python objects.
    """
    content = place.read_bytes()
    try:
        # a damaged header is tried as Python source: it may fail in the tokenizer, and name any shape
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except (ValueError, EOFError, OSError, SyntaxError, tokenize.TokenError, MemoryError, OverflowError) as error:
        fix = "fetch it again, or save it with numpy.save"
        raise UserError(f"not a readable array ({error})", str(place), fix) from None
