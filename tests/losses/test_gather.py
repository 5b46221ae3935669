"""W workers with b rows each: the loss and the gradients of one worker with W x b rows."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from covr.losses import ContrastiveLoss, HardNegativeNCE, SymmetricCrossEntropy, gather_rows

ROWS, DIM = 12, 6
LOSSES: dict[str, ContrastiveLoss] = {
    "rowwise": HardNegativeNCE(weights="rowwise"),
    "published": HardNegativeNCE(weights="published"),
    "cross-entropy": SymmetricCrossEntropy(),
}


def batch(dtype: torch.dtype):
    """Inputs, masks with padded rows, and two small towers."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, ROWS, DIM, generator=generator, dtype=dtype)
    positives = torch.rand(ROWS, ROWS, generator=generator) < 0.2
    valid = torch.arange(ROWS) < ROWS - 2
    torch.manual_seed(0)
    towers = nn.ModuleList(nn.Linear(DIM, DIM, dtype=dtype) for _ in range(2))
    return inputs, positives, valid, towers


def embed(towers, inputs):
    return [nn.functional.normalize(tower(x), dim=1) for tower, x in zip(towers, inputs, strict=True)]


def one_worker(name: str, dtype: torch.dtype):
    inputs, positives, valid, towers = batch(dtype)
    loss = LOSSES[name](*embed(towers, inputs), positives, valid)
    loss.backward()
    return loss.detach(), [p.grad for p in towers.parameters()]


def work(rank: int, world: int, address: str, results) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    found = {}
    for dtype in (torch.float64, torch.float32):
        for name in LOSSES:
            inputs, positives, valid, towers = batch(dtype)
            share = ROWS // world
            mine = slice(rank * share, (rank + 1) * share)
            query, target = embed(towers, inputs[:, mine])
            loss = LOSSES[name].local(
                query,
                target,
                gather_rows(query),
                gather_rows(target),
                rank * share,
                positives[mine],
                positives.T[mine],
                valid,
            )
            loss.backward()
            total = loss.detach().clone()
            for value in (total, *(p.grad for p in towers.parameters())):
                dist.all_reduce(value)
            found[name, dtype] = (total.numpy(), [p.grad.numpy() for p in towers.parameters()])
    if rank == 0:
        results.put(found)
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(world, tmp_path):
    results = mp.get_context("spawn").SimpleQueue()
    mp.spawn(work, (world, f"file://{tmp_path}/rendezvous", results), nprocs=world)
    for (name, dtype), (loss, gradients) in results.get().items():
        tolerance = 1e-9 if dtype == torch.float64 else 1e-5
        expected_loss, expected_gradients = one_worker(name, dtype)
        torch.testing.assert_close(torch.tensor(loss), expected_loss, atol=tolerance, rtol=tolerance)
        for gradient, expected in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(torch.tensor(gradient), expected, atol=tolerance, rtol=tolerance)


def test_without_a_process_group_rows_are_as_given():
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows
