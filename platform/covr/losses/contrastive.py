"""What every in-batch contrastive loss shares: logits, masks, both directions, and the form over workers.

Shapes: b local rows, N rows of the whole batch (b times the workers), D width. Row i of the queries belongs to row i
of the targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Direction:
    """The local rows of one direction, against all columns."""

    positive_b: Tensor
    """Logit of each row's own partner."""
    logits_bN: Tensor
    """All logits."""
    others_bN: Tensor
    """bool, the cells of other rows' partners, without padding."""
    negatives_bN: Tensor
    """bool, those of them that are not also right."""
    to_target: bool
    """Rows are queries and columns targets; else the other way round."""
    group: dist.ProcessGroup | None
    """The workers."""


class ContrastiveLoss(nn.Module):
    """Sum of the directions query -> target and target -> query, each a mean over the rows of the batch.

    Embeddings come L2-normalised. The loss runs in float32 (float64 where it is given), whatever the precision
    around it.

    Args:
        temperature: divides the similarities.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature} is not above 0")
        self.temperature = temperature

    def forward(
        self, query: Tensor, target: Tensor, positives: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """The loss of a whole batch, a scalar.

        Args:
            query: (N, D).
            target: (N, D), the right answer of each query at the same row.
            positives: bool (N, N), True where target j is also right for query i: the cell is no negative in either
                direction. The diagonal is ignored.
            valid: bool (N,), False for rows that only pad the batch: neither counted nor negatives.
        """
        columns = None if positives is None else positives.T
        return self.local(query, target, query, target, 0, positives, columns, valid)

    def local(
        self,
        query_local: Tensor,
        target_local: Tensor,
        query_all: Tensor,
        target_all: Tensor,
        offset: int,
        positives_rows: Tensor | None = None,
        positives_columns: Tensor | None = None,
        valid: Tensor | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> Tensor:
        """This worker's share of the loss of a batch spread over workers; the shares add up to `forward`'s value.

        Two (b, N) blocks of logits are held, never the (N, N) square. With `query_all` and `target_all` from
        `covr.losses.gather_rows`, the gradients that the workers give their parameters add up to those of one
        worker with the whole batch; where they are averaged instead (DDP), multiply the share by the number of
        workers.

        Args:
            query_local: (b, D), this worker's rows.
            target_local: (b, D), this worker's rows.
            query_all: (N, D), the rows of all workers in the order of their ranks.
            target_all: (N, D), likewise.
            offset: where the local rows begin in the whole batch.
            positives_rows: bool (b, N), True where target j is also right for local query i.
            positives_columns: bool (b, N), True where local target i is also right for query j.
            valid: bool (N,), as in `forward`.
            group: the workers; by default all.
        """
        num_local = len(query_local)
        own_b = torch.arange(offset, offset + num_local, device=query_local.device)
        losses_b = torch.zeros((), device=query_local.device)
        for rows, columns, positives, to_target in (
            (query_local, target_all, positives_rows, True),
            (target_local, query_all, positives_columns, False),
        ):
            logits_bN = self._logits(rows, columns)
            others_bN = torch.ones_like(logits_bN, dtype=torch.bool).scatter_(1, own_b[:, None], False)
            if valid is not None:
                others_bN &= valid
            losses_b = losses_b + self._row_losses(
                Direction(
                    positive_b=logits_bN.gather(1, own_b[:, None]).squeeze(1),
                    logits_bN=logits_bN,
                    others_bN=others_bN,
                    negatives_bN=others_bN if positives is None else others_bN & ~positives,
                    to_target=to_target,
                    group=group,
                )
            )
        if valid is None:
            return losses_b.sum() / len(query_all)
        return losses_b[valid[own_b]].sum() / valid.sum().clamp(min=1)

    def _logits(self, rows_bD: Tensor, columns_ND: Tensor) -> Tensor:
        dtype = torch.promote_types(rows_bD.dtype, torch.float32)
        with torch.autocast(rows_bD.device.type, enabled=False):
            return rows_bD.to(dtype) @ columns_ND.to(dtype).T / self.temperature

    def _row_losses(self, rows: Direction) -> Tensor:
        """The losses (b,) of one direction's rows."""
        raise NotImplementedError


def log_sum_exp(values_bN: Tensor, cells_bN: Tensor) -> Tensor:
    """Log of the sum of exponentials over the chosen cells of each row; the dtype's lowest number where there are none.

    A finite floor, not minus infinity: the gradient of an empty row is then zero and not NaN.
    """
    return values_bN.masked_fill(~cells_bN, torch.finfo(values_bN.dtype).min).logsumexp(dim=1)
