"""Reading embedded clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from covr.embed.features import Features
from covr.storage import Place

if TYPE_CHECKING:  # importing covr.models takes seconds, and no worker that decodes needs it
    from covr.models.video import VideoEncoder


def pooled(root: Place, encoder: VideoEncoder | str, clip_ids: Sequence[str]) -> np.ndarray:
    """The raw pooled vectors of clips under an encoder (or its fingerprint), float32 (N, D), in the order asked for.

    Raises:
        UserError: vectors are missing; how many, and where.
    """
    fingerprint = encoder if isinstance(encoder, str) else encoder.fingerprint()
    return Features(root, fingerprint).read(clip_ids)
