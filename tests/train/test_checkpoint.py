from __future__ import annotations

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from covr.train import checkpoint


def trained(steps: int) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    model[2].bias.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in range(steps):
        go_on(model, optimizer, step)
    return model, optimizer


def go_on(model: nn.Module, optimizer: torch.optim.AdamW, step: int) -> None:
    torch.manual_seed(step)
    optimizer.zero_grad()
    model(torch.randn(5, 3)).square().mean().backward()
    optimizer.step()


def test_a_restored_run_takes_the_same_next_step(tmp_path):
    model, optimizer = trained(3)
    checkpoint.save(tmp_path, model, optimizer, {"step": 3, "best": {"top-1": 0.5}})
    again, its_optimizer = trained(0)
    assert checkpoint.load(tmp_path, again, its_optimizer) == {"step": 3, "best": {"top-1": 0.5}}
    for module, its in ((model, optimizer), (again, its_optimizer)):
        go_on(module, its, 3)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_file_cut_short_is_refused(tmp_path):
    model, optimizer = trained(1)
    checkpoint.save(tmp_path, model, optimizer, {"step": 1})
    file = tmp_path / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(SafetensorError):
        checkpoint.load(tmp_path, model, optimizer)
