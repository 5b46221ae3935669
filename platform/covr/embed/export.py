"""Features out of the table, one file a clip, as the published code reads them; `covr.embed.stored` reads them back."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import torch

from covr.embed.features import Features
from covr.errors import UserError
from covr.models.encoders import load_sides
from covr.models.sides import Side
from covr.storage import Place, TableStore

Suffix = Literal[".pth", ".npy"]


def export_features(
    root: Place, folder: Place, side: Side = "target", feature: str | None = None, suffix: Suffix = ".pth"
) -> dict[str, int]:
    """Write what one side of the model at `pretrain/model` keeps of the clips as `folder/<clip_id><suffix>`.

    Args:
        feature: pooled (D,), frames (T, D) or tokens, float32; None: the one that the side reads.
        suffix: `.pth`, a tensor as CoVR, BSE-CoVR and TF-CoVR read it, or `.npy`, an array as FineCVR has it.

    Returns:
        {clips, written}: clips of the data set, and those of them that have the feature.

    Raises:
        UserError: no model, a side that reads no picture, or no clip with this feature.
    """
    sides = load_sides(root / "pretrain/model")
    if side not in sides:
        raise UserError("this model's queries read no picture", f"--side {side}", "leave it out")
    wanted = feature or sides[side].writes[0]
    features = Features(root, sides[side].fingerprint())
    clips = TableStore(root / "tables/clips", "clips").require(
        ["clip_id", "sha256", "start_s", "end_s"], made_by="ingest"
    )
    written = 0
    for clip_id, value in features.each(clips, wanted):
        (folder / f"{clip_id}{suffix}").write_bytes(_content(value, suffix))
        written += 1
    if not written:
        fix = "frames beside pooled vectors: machine.features=[pooled,frames]; run jobs/embed.py"
        raise UserError(f"no clip has the feature {wanted!r}", str(features.place), fix)
    return {"clips": len(clips), "written": written}


def _content(value: np.ndarray, suffix: Suffix) -> bytes:
    file = io.BytesIO()
    if suffix == ".pth":
        torch.save(torch.from_numpy(value.copy()), file)  # a copy: the value is a view of its part's rows
    else:
        np.save(file, value, allow_pickle=False)
    return file.getvalue()
