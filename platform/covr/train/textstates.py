"""What a frozen text encoder gives for the wordings of a data set, kept below the storage root: each is read once.

Rows and seeds that share the encoder share the file; for 35,000 wordings it saves each of them a minute of a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from covr.models.text import TextEncoder
from covr.models.text.cleaning import clean
from covr.models.video.encoder import module_fingerprint, settings
from covr.storage import Place
from covr.train.vectors import Vectors

FOLDER = "text_states"


def remember(text: TextEncoder, texts: Sequence[str], root: Place) -> None:
    """`TextEncoder.remember`, through a file where all of its layers are frozen; it lies on its device already.

    Texts that are remembered already are not asked for again.
    """
    if text.remembered and {clean(each, text.config.cleaning) for each in texts} <= text.remembered.keys():
        return
    if text.config.train_layers != 0:
        text.remember(texts)
        return
    mark = module_fingerprint(text.bert, settings(text.config), sorted(texts))
    place = root / FOLDER / f"{mark[:16]}.arrow"
    if not place.exists():
        text.remember(texts)
        read = sorted(text.remembered)
        Vectors.write(place, read, np.stack([text.remembered[each].cpu().numpy() for each in read]))
    kept = Vectors(place)
    device = text.projection.weight.device
    values = torch.tensor(kept.values).to(device)
    text.remembered = dict(zip(kept.clip_ids, values, strict=True))
