"""A model as a folder: config.json, weights.safetensors and a model card, wherever it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import safetensors.torch
from torch import Tensor, nn

from covr.errors import UserError
from covr.storage import Place

Config = TypeVar("Config")
CONFIG, WEIGHTS, CARD = "config.json", "weights.safetensors", "README.md"
RERANK = "rerank"
"""Below a retriever's folder: the one that orders the best of its answers anew."""


def write(place: Place, config: Mapping[str, Any], module: nn.Module, card: str) -> None:
    """Write a model; config.json comes last and names the weights' hash, so that a torn folder is refused."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    data = safetensors.torch.save(state)
    (place / WEIGHTS).write_bytes(data)
    (place / CARD).write_bytes(card.encode())
    (place / CONFIG).write_json({**config, "weights_sha256": hashlib.sha256(data).hexdigest()})


def read(place: Place, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of a written model.

    Raises:
        UserError: the folder is not there, holds another kind of model, or its weights are not the ones written.
    """
    if not (place / CONFIG).exists():
        raise UserError(f"no {kind} here: {CONFIG} is missing", str(place), "give a folder written by covr")
    config = (place / CONFIG).read_json()
    if config.get("kind") != kind:
        raise UserError(f"found a {config.get('kind')!r}, expected a {kind!r}", str(place), "give another folder")
    data = (place / WEIGHTS).read_bytes()
    if hashlib.sha256(data).hexdigest() != config["weights_sha256"]:
        raise UserError(f"{WEIGHTS} is not the file that was saved", str(place), "save or copy the model again")
    return config, safetensors.torch.load(data)


def restore(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """A component's configuration as it was written.

    Raises:
        UserError: options that this version of covr does not have.
    """
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"written by another version of covr ({error})", where, "train or convert it again") from None


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], where: str, optional: tuple[str, ...] = ()) -> None:
    """Load every tensor or none.

    Args:
        optional: parts of names that may stay as they are when `state` lacks them.

    Raises:
        UserError: a tensor missing, superfluous or of another shape, named.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state and not any(part in name for part in optional)]
    superfluous = [name for name in state if name not in own]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    for what, names in (("misses", missing), ("has the unknown", superfluous), ("has another shape of", shapes)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(f"the file {what} tensor {names[0]}{more}", where, "give weights of this configuration")
    module.load_state_dict(state, strict=False)
