"""The state of a training run in one safetensors file: weights, their average, the optimizer's moments, a record.

One file, because a file cut short by a kill is then seen as such. Random numbers are not stored: every step
draws its own from the seed and its number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

FILE = "state.safetensors"


def save(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    record: Mapping[str, Any],
    averages: Mapping[str, torch.Tensor] = MappingProxyType({}),
) -> None:
    """Write `state.safetensors` into `folder`; frozen weights are left out.

    Args:
        record: a JSON value.
        averages: moving averages of the weights, by parameter.
    """
    tensors = {f"model.{name}": value for name, value in _state(model).items()}
    tensors |= {f"optimizer.{name}": value for name, value in _moments(model, optimizer).items()}
    tensors |= {f"average.{name}": value for name, value in averages.items()}
    on_cpu = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    save_file(on_cpu, folder / FILE, metadata={"record": json.dumps(dict(record))})


def load(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: Mapping[str, torch.Tensor] = MappingProxyType({}),
) -> dict[str, Any]:
    """Put the state in `folder` into `model`, `optimizer` and `averages`, in place; return the record."""
    stored = load_file(folder / FILE)
    with safe_open(folder / FILE, framework="pt") as file:
        record = json.loads(file.metadata()["record"])
    with torch.no_grad():
        for name, value in _state(model).items():
            value.copy_(stored[f"model.{name}"])
        for name, value in averages.items():
            value.copy_(stored[f"average.{name}"])
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}:"
        moments = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
        if moments:
            # The step count stays on the CPU, where the optimizer keeps it.
            optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in moments.items()
            }
    return record


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {**trained, **dict(model.named_buffers())}


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}:{key}": torch.as_tensor(value)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }
