"""The caption term of stage 2 (CoVR's `si_tc`): the target clips' captions as frozen text vectors."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.compute as pc
import torch
from torch import Tensor

from covr.errors import UserError
from covr.models import TextEncoder
from covr.storage import Place, TableStore

BATCH = 256


@torch.no_grad()
def caption_vectors(root: Place, text: TextEncoder, clip_ids: Sequence[str]) -> Tensor:
    """Unit vectors (N, D) of the clips' captions as `text` gives them now, on the CPU.

    Args:
        root: storage root; of its table `texts` the first text of kind `caption` counts.
        text: the encoder, put into evaluation mode.
        clip_ids: N clips.

    Raises:
        UserError: a clip without a caption, or no table.
    """
    table = TableStore(root / "tables" / "texts", "texts").require(["owner_id", "kind", "text"], made_by="ingest")
    table = table.filter(pc.equal(table["kind"], "caption"))
    captions: dict[str, str] = {}
    for clip_id, caption in zip(table["owner_id"].to_pylist(), table["text"].to_pylist(), strict=True):
        captions.setdefault(clip_id, caption)
    missing = [clip_id for clip_id in clip_ids if clip_id not in captions]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(clip_ids)} target clips have no caption",
            f"tables/texts: clip {missing[0]}",
            "give each a text of kind caption, or set model.loss_terms.si_tc=0",
        )
    texts = [captions[clip_id] for clip_id in clip_ids]
    text.eval()
    return torch.cat([text(texts[start : start + BATCH]).float().cpu() for start in range(0, len(texts), BATCH)])
