"""The caption term of stage 2 (CoVR's `si_tc`): the target clips' captions as frozen text vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from covr.embed.read import texts_about
from covr.storage import Place

BATCH = 256


@torch.no_grad()
def caption_vectors(root: Place, embed: Callable[[list[str]], Tensor], clip_ids: Sequence[str]) -> Tensor:
    """Unit vectors (N, D) of the clips' captions, on the CPU.

    Args:
        root: storage root; of its table `texts` the first text of kind `caption` counts.
        embed: texts to vectors, in evaluation mode.
        clip_ids: N clips.

    Raises:
        UserError: a clip without a caption, or no table.
    """
    texts = texts_about(root, clip_ids, "caption", "or set model.loss_terms.si_tc=0")
    return torch.cat([embed(texts[start : start + BATCH]).float().cpu() for start in range(0, len(texts), BATCH)])
