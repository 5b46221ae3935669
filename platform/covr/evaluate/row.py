"""One row of a comparison: what answers the queries, and how its answers become `runs` tables."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
import torch

from covr.embed.read import SideFeatures
from covr.errors import UserError
from covr.evaluate.metrics import Protocol
from covr.evaluate.queries import Queries
from covr.evaluate.rank import Own, rank_embeddings, rank_randomly, reorder
from covr.index.expansion import expanded
from covr.job import Job
from covr.models.folder import RERANK
from covr.models.joint import JointRetriever
from covr.models.retriever import ComposedRetriever
from covr.storage import TableStore
from covr.storage.place import fingerprint
from covr.train.textstates import remember

CHANCE = "chance"
BATCH = 256


class Row:
    """One row of the comparison: a saved retriever, or chance."""

    def __init__(self, job: Job, name: str) -> None:
        self.job, self.name = job, name
        self.place = job.root / "retrievers" / name
        self._known: dict[tuple[str, str], np.ndarray] = {}

    @property
    def fingerprint(self) -> str:
        """Of the saved retriever, without loading it.

        Raises:
            UserError: it was never trained.
        """
        if self.name == CHANCE:
            return fingerprint(CHANCE, self.job.cfg.seed)
        if self.rerank is not None:
            return fingerprint(self._written, self.rerank.fingerprint, self.top_n)
        return self._written

    @property
    def _written(self) -> str:
        if not (self.place / "config.json").exists():
            raise UserError(f"the row {self.name!r} was never trained", str(self.place), "run jobs/finetune.py first")
        return (self.place / "config.json").read_json()["fingerprint"]

    @cached_property
    def rerank(self) -> Row | None:
        """The second stage, which orders the best `top_n` of this one's answers anew; None where there is none."""
        place = self.place / RERANK
        return Row(self.job, f"{self.name}/{RERANK}") if (place / "top_n.json").exists() else None

    @cached_property
    def top_n(self) -> int:
        return (self.place / RERANK / "top_n.json").read_json()

    @cached_property
    def retriever(self) -> ComposedRetriever | JointRetriever:
        cuda = self.job.cfg.trainer.accelerator != "cpu" and torch.cuda.is_available()
        return ComposedRetriever.load(self.place).to("cuda" if cuda else "cpu")

    @cached_property
    def features(self) -> SideFeatures:
        return SideFeatures(self.job.root, self.retriever)

    def runs(self, queries: Queries, gallery: str, depth: int, own: Own) -> pa.Table:
        """Answer every query over its gallery of this name with the best `depth` clips, as a `runs` table."""
        parts = []
        for group, clips in queries.groups(gallery):
            asked = {
                "query_ids": group.triplets["query_id"].to_pylist(),
                "query_clips": group.triplets["query_clip"].to_pylist(),
                "gallery_clips": clips,
                "depth": depth,
                "own": own,
            }
            if self.name == CHANCE:
                parts.append(rank_randomly(seed=self.job.cfg.seed, **asked))
            else:
                target_GD = self._targets(clips)
                parts.append(rank_embeddings(self._asked_again(group, clips, target_GD), target_GD, **asked))
                if self.rerank is not None:
                    again = self.rerank.similarity(group, clips)
                    parts[-1] = reorder(parts[-1], again, asked["query_ids"], clips, self.top_n)
        return pa.concat_tables(parts)

    def vectors(self, queries: Queries) -> tuple[np.ndarray, np.ndarray | None]:
        """(Q, D) each: the vectors of the queries and of their annotated answers; None where those are hidden."""
        answers = queries.triplets["target_clips"].to_pylist()
        return self._queries(queries), self._targets([clips[0] for clips in answers]) if all(answers) else None

    def similarity(self, queries: Queries, clips: list[str]) -> np.ndarray:
        """Of each query to each of the clips, (Q, G)."""
        return self._queries(queries) @ self._targets(clips).T

    def _asked_again(self, queries: Queries, clips: list[str], target_GD: np.ndarray) -> np.ndarray:
        """Query vectors (Q, D), with their best answers added where the retriever wants it."""
        query_QD = self._queries(queries)
        if self.retriever.expand is None:
            return query_QD
        first = {clip: place for place, clip in reversed(list(enumerate(clips)))}
        ids = [str(row) for row in range(len(query_QD))]
        best = rank_embeddings(
            query_QD,
            target_GD[list(first.values())],
            query_ids=ids,
            query_clips=queries.triplets["query_clip"].to_pylist(),
            gallery_clips=list(first),
            depth=self.retriever.expand,
        )
        rows_A = best["query_id"].to_numpy(zero_copy_only=False).astype(np.int64)
        columns_A = [first[clip] for clip in best["clip_id"].to_pylist()]
        return expanded(query_QD, rows_A, best["score"].to_numpy(), target_GD[columns_A])

    @torch.inference_mode()
    def _queries(self, queries: Queries) -> np.ndarray:
        """Query vectors (Q, D); each (clip, text) is embedded once, whichever protocol asks for it."""
        asked = list(zip(queries.texts(), queries.triplets["query_clip"].to_pylist(), strict=True))
        new = sorted(set(asked) - self._known.keys())  # equal texts side by side: an encoder does them once a batch
        text = self.retriever.text if isinstance(self.retriever, ComposedRetriever) else None
        if new and text is not None and text.config.train_layers == 0:  # other rows ask the same with the same encoder
            remember(text, sorted({each for each, _ in new}), self.job.root)
        distinct = sorted({clip for _, clip in new})
        told = self.features.descriptions(distinct) if new else None
        described = None if told is None else dict(zip(distinct, told, strict=True))
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            clips = [clip for _, clip in batch]
            found = self.retriever.embed_query(
                self._on_device(self.features.query(clips)),
                [text for text, _ in batch],
                **({} if described is None else {"descriptions": [described[clip] for clip in clips]}),
            )
            self._known.update(zip(batch, found.float().cpu().numpy(), strict=True))
        return np.stack([self._known[each] for each in asked])

    @torch.inference_mode()
    def _targets(self, clips: list[str]) -> np.ndarray:
        return self.retriever.embed_target(self._on_device(self.features.target(clips))).float().cpu().numpy()

    def _on_device(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(next(self.retriever.parameters()).device)


def publish(job: Job, row: Row, queries: Queries, protocol: Protocol, name: str, depth: int) -> None:
    """Write a row's answers as the table `runs/<name>`, unless it is there."""
    made_from = fingerprint(queries.origin, row.fingerprint, protocol, depth)
    own: Own = "last" if protocol == "published" else "left out"
    store = TableStore(job.root / "runs" / name, "runs")
    if (store.manifest() or {}).get("fingerprint") == made_from:
        return
    store.publish(row.runs(queries, protocol, depth, own), made_from)


def run_name(row: str, protocol: Protocol) -> str:
    """The name of a row's `runs` table under a protocol."""
    return row if protocol == "corrected" else f"{row}-{protocol}"
