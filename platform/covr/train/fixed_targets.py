"""Targets of stage 2 that do not learn: the clips' captions (CoVR's `si_tc`), and multimodal readings of the clips that
were computed elsewhere (ECDE's `si_tm`)."""

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


def multimodal_vectors(files: Sequence[str], clip_ids: Sequence[str], dim: int) -> Tensor:
    """Unit vectors (N, D) of the clips' multimodal readings, on the CPU.

    Args:
        files: files or folders as `covr.checkpoints.vectors` reads them; a clip in several counts in the first, and of
            a matrix of frames (published: equal rows) the mean.
        clip_ids: N clips.
        dim: D.

    Raises:
        UserError: a clip without one, or one of another width.
    """
    found: dict[str, Tensor] = {}
    for uri in files:
        for clip_id, value in vectors(Place(uri), set(clip_ids)):
            if value.shape[-1] != dim:
                raise UserError(f"a vector of {value.shape[-1]} values, not {dim}", f"{uri}, {clip_id}", "give others")
            found.setdefault(clip_id, torch.from_numpy(value.reshape(-1, dim).mean(axis=0)))
    lacking = [clip_id for clip_id in clip_ids if clip_id not in found]
    if lacking:
        raise UserError(
            f"{len(lacking)} of {len(clip_ids)} clips have no multimodal vector",
            f"model.loss_terms.multimodal: clip {lacking[0]}",
            "give their files or folders, or set model.loss_terms.si_tm=0",
        )
    return nn.functional.normalize(torch.stack([found[clip_id] for clip_id in clip_ids]), dim=-1)
