"""The caption term of stage 2 (CoVR's `si_tc`): the target clips' captions as frozen text vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from covr.checkpoints.vectors import vectors
from covr.embed.read import texts_about
from covr.errors import UserError
from covr.storage import Place

BATCH = 256
INSTEAD = "or set model.loss_terms.si_tc=0"


@torch.no_grad()
def caption_vectors(
    root: Place, embed: Callable[[list[str]], Tensor], clip_ids: Sequence[str], table: Place | None = None
) -> Tensor:
    """Unit vectors (N, D) of the clips' captions, on the CPU.

    Args:
        root: storage root; of its table `texts` the first text of kind `caption` counts.
        embed: texts to vectors, in evaluation mode.
        clip_ids: N clips.
        table: a published table of texts (see `covr.checkpoints.vectors`), whose vectors stand for `embed`'s.

    Raises:
        UserError: a clip without a caption, no table, a caption that is not in it, or vectors of another width.
    """
    texts = texts_about(root, clip_ids, "caption", INSTEAD)
    if table is not None:
        return _looked_up(table, texts, embed(texts[:1]).shape[1])
    return torch.cat([embed(texts[start : start + BATCH]).float().cpu() for start in range(0, len(texts), BATCH)])


def _looked_up(table: Place, texts: Sequence[str], dim: int) -> Tensor:
    found = dict(vectors(table, set(texts)))
    if missing := sorted(set(texts) - found.keys()):
        fix = "make it from these annotations (covr export-texts), or set model.loss_terms.captions=null"
        raise UserError(f"{len(missing)} captions are not in the table", f"{table}: {missing[0]!r}", fix)
    values_ND = torch.from_numpy(np.stack([found[text] for text in texts]))
    if values_ND.shape[1:] != (dim,):
        problem = f"vectors of shape {tuple(values_ND.shape[1:])} for a model of {dim}"
        raise UserError(problem, str(table), "give the table of this model")
    return nn.functional.normalize(values_ND, dim=-1)
