"""Vectors of texts as one table, `{"texts": [...], "feats": (n, D)}`, as CoVR's save_blip_embs_txts.py writes it."""

from __future__ import annotations

import io

import pyarrow.compute as pc
import torch

from covr.errors import UserError
from covr.models import ComposedRetriever
from covr.storage import Place, TableStore

BATCH = 256
MODIFICATION = "modification"
"""The kind that stands for the queries' own texts; the others are those of the table `texts`."""


@torch.inference_mode()
def export_texts(root: Place, file: Place, kind: str = "caption", model: str = "pretrain/model") -> int:
    """Write the vectors, of unit length, of every different text of a kind, read alone; returns how many.

    Args:
        kind: as in the table `texts` (caption, description, ...), or `modification`.
        model: the folder of a retriever below `root`.

    Raises:
        UserError: no such text, or a model that reads none.
    """
    if kind == MODIFICATION:
        wordings = TableStore(root / "tables/triplets", "triplets").require(["modifications"], made_by="ingest")
        found = wordings["modifications"].combine_chunks().flatten()
    else:
        columns, chosen = ["text"], [("kind", "=", kind)]
        found = TableStore(root / "tables/texts", "texts").require(columns, filters=chosen, made_by="ingest")["text"]
    texts = sorted(pc.unique(found).to_pylist())
    if not texts:
        fix = f"choose caption, description, narration, rewritten, shared_concept or {MODIFICATION}"
        raise UserError("no text of this kind was ingested", f"--kind {kind}", fix)
    retriever = ComposedRetriever.load(root / model).to("cuda" if torch.cuda.is_available() else "cpu")
    starts = range(0, len(texts), BATCH)
    feats_ND = torch.cat([retriever.text_target(texts[at : at + BATCH]).float().cpu() for at in starts])
    content = io.BytesIO()
    torch.save({"texts": texts, "feats": feats_ND}, content)
    file.write_bytes(content.getvalue())
    return len(texts)
