"""How far the published slip of HN-NCE leads training elsewhere: the gradients of both weightings on the same batches.

    python benchmarks/loss_weights.py out/demo

Of the retriever that `make demo` trained. The published form takes the scale of a row's negatives from another row
(`covr.losses.hn_nce`); told is how much alike the gradients on the query and target vectors of a batch are (cosine,
ratio of lengths), with right answers masked as in `mlp`, and counted as negatives as published.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from covr.evaluate.queries import Queries
from covr.losses import HardNegativeNCE, WeightedTargets
from covr.losses.hn_nce import Weights
from covr.models import ComposedRetriever
from covr.storage import Place
from covr.train.order import Order
from covr.train.task import Shard
from covr.train.triplets import TripletTask
from covr.train.vector_files import pooled_file

BATCH, BATCHES = 128, 20


def task(root: Place, retriever: ComposedRetriever, weights: Weights, mask_right: bool) -> TripletTask:
    queries = [split for split in Queries.to_train(root) if split is not None]
    return TripletTask(
        Shard(rank=0, world=1, device=torch.device("cpu"), data_cpus=0),
        build=lambda: retriever,
        loss=WeightedTargets(HardNegativeNCE(weights=weights), {"si_ti": 1.0}),
        root=root,
        **pooled_file(root, queries, retriever.video),
        out=root,
        mask_right=mask_right,
    )


def gradient(task: TripletTask, vectors: dict[str, torch.Tensor], batch: dict) -> torch.Tensor:
    """On the query and target vectors, as one."""
    leaves = {name: vector.clone().requires_grad_() for name, vector in vectors.items()}
    task.loss(leaves, batch).backward()
    return torch.cat([leaf.grad.flatten() for leaf in leaves.values() if leaf.grad is not None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="a storage root after make demo")
    root = Place(parser.parse_args().out)
    retriever = ComposedRetriever.load(root / "retrievers" / "composed").train()
    for mask_right in (True, False):
        corrected, published = (task(root, retriever, weights, mask_right) for weights in ("rowwise", "published"))
        order, alike, longer = Order(num_rows=corrected.num_rows, batch_size=BATCH, seed=0), [], []
        torch.manual_seed(0)
        for batch in corrected.batches(order, 0, BATCHES):
            with torch.no_grad():
                vectors = corrected.forward(retriever, batch)
            ours, theirs = gradient(corrected, vectors, batch), gradient(published, vectors, batch)
            alike.append(torch.cosine_similarity(ours, theirs, dim=0).item())
            longer.append((theirs.norm() / ours.norm()).item())
        print(
            f"right answers {'masked' if mask_right else 'not masked'}: cosine {np.mean(alike):.3f} "
            f"(least {min(alike):.3f}), length {np.mean(longer):.3f} of the corrected, {BATCHES} batches of {BATCH}"
        )


if __name__ == "__main__":
    main()
