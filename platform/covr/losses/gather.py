"""Rows of every worker, with gradients that flow back to the worker that made them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(local: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The rows of all workers in the order of their ranks; `local` itself where there is no process group.

    Args:
        local: (b, ...), of the same shape on every worker.

    Returns:
        (b * workers, ...). Its gradients are summed over the workers.
    """
    return _GatherRows.apply(local, group) if dist.is_initialized() else local


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group, ctx.rows = group, len(local)
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, local.contiguous(), group)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)  # gloo has no reduce-scatter
        first = dist.get_rank(ctx.group) * ctx.rows
        return total[first : first + ctx.rows], None
