"""Stage 2 as a training task: fusion and text encoder learn to find the target's vector.

Shapes: P rows of the padded global batch, L of them on this rank, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from covr.embed.read import texts_about
from covr.errors import UserError
from covr.evaluate.answers import answers
from covr.evaluate.metrics import PRIMARY, per_query, percent
from covr.evaluate.queries import Queries
from covr.evaluate.rank import rank_embeddings
from covr.losses import WeightedTargets, gather_rows
from covr.models import ComposedRetriever
from covr.models.joint import JointRetriever
from covr.storage import Place
from covr.tables import right_targets
from covr.train.extras import EXTRAS, Extras
from covr.train.fixed_targets import caption_vectors, multimodal_vectors
from covr.train.order import Order
from covr.train.right import RightAnswers
from covr.train.task import Shard
from covr.train.textstates import remember
from covr.train.vectors import Vectors

INPUTS = ("query", "texts", "target")
"""What a batch holds for every retriever; see `covr.train.extras` for the rest."""
VALIDATION_BATCH = 256
VALIDATION_DEPTH = 10


class TripletTask:
    """HN-NCE between query vectors and target vectors, both from frozen clip vectors.

    Each epoch every triplet is read once: its query clip as given, one of its right answers and one of its wordings
    drawn at random. What else is right for a row is never its negative.

    Args:
        shard: this worker's place.
        build: makes the retriever; what makes the stored features is frozen, what it trains of the rest is its own.
        loss: the contrastive loss, against the target clip's vector (`si_ti`), its caption (`si_tc`) and its multimodal
            reading (`si_tm`).
        root: storage root with the tables.
        vectors: what the target side reads of the clips, see `covr.train.vectors`.
        query_vectors: what the query side reads, where that is another file.
        out: the folder that gets the trained retriever.
        refused: clips without a vector, see `covr.embed.refused`; triplets do without them.
        captions: a table of the captions' vectors; None: the model reads them before any training.
        multimodal: files of the multimodal readings, see `covr.train.fixed_targets`.
        mask_right: whether what else is right for a row is kept from being its negative (published: it is not).
    """

    primary = PRIMARY

    def __init__(
        self,
        shard: Shard,
        *,
        build: Callable[[], ComposedRetriever | JointRetriever],
        loss: WeightedTargets,
        root: Place,
        vectors: Place,
        query_vectors: Place | None = None,
        out: Place,
        refused: frozenset[str] = frozenset(),
        captions: Place | None = None,
        multimodal: Sequence[str] = (),
        mask_right: bool = True,
    ) -> None:
        self.shard, self._loss, self._out, self._mask_right = shard, loss, out, mask_right
        self.vectors = Vectors(vectors)
        self.query_vectors = self.vectors if query_vectors is None else Vectors(query_vectors)
        self.train, self.val = Queries.to_train(root, refused)
        triplets = self.train.triplets
        self.num_rows = len(triplets)
        self.right = RightAnswers(triplets, self.vectors)
        self.query_clips = self.query_vectors.rows(triplets["query_clip"].to_pylist())
        self.wordings: list[list[str]] = triplets["modifications"].to_pylist()
        self.retriever = build()
        splits = [split for split in (self.train, self.val) if split is not None]
        asking = [clip for split in splits for clip in split.triplets["query_clip"].to_pylist()]
        self.extras = Extras(root, self.retriever, triplets, asking, self.vectors.values.shape[1:])
        if isinstance(self.retriever, ComposedRetriever):
            self._prepare(self.retriever, root)
        else:
            self.retriever.set_center(torch.from_numpy(self.vectors.values[np.unique(self.right.clips)]))
        own = "si_tm" in loss.weights and not multimodal  # the model makes its second target itself
        self._read_of_targets = self._descriptions(root) if own else None
        self.fixed_targets = self._fixed_targets(root, loss.weights, captions, multimodal)
        self.model: nn.Module = self.retriever

    def _prepare(self, retriever: ComposedRetriever, root: Place) -> None:
        """What is computed once of the training set: the mean vector, and what frozen text layers give."""
        seen = self.right.clips
        if self.query_vectors is self.vectors:
            seen = np.concatenate([self.query_clips, seen])
        retriever.set_center(torch.from_numpy(self.vectors.values[np.unique(seen)]))
        if retriever.text is not None:
            texts = {text for wordings in self.wordings for text in wordings}
            asked = () if self.val is None else self.val.texts()
            remember(retriever.text.to(self.shard.device), sorted(texts.union(asked)), root)

    def batches(self, order: Order, first: int, last: int) -> Iterator[dict[str, Any]]:
        for step in range(first, last):
            batch = order.global_batch(step)
            padded, part = batch.padded(self.shard.world), batch.part(self.shard.rank, self.shard.world)
            rows, local = padded.rows, padded.rows[part]
            draws = np.resize(order.generator(step).random((order.batch_size, 2)), (len(rows), 2))
            chosen = (draws[:, 0] * self.right.counts[rows]).astype(np.int64)
            targets, labels = self.right.clips[self.right.starts[rows] + chosen], self.right.labels[rows]
            texts = [
                self.wordings[row][int(draw * len(self.wordings[row]))]
                for row, draw in zip(local, draws[part, 1], strict=True)
            ]
            made: dict[str, Any] = {
                "rows": local,
                "query": torch.from_numpy(self.query_vectors.values[self.query_clips[local]]),
                "texts": texts,
                "target": torch.from_numpy(self.vectors.values[targets[part]]),
                **self.extras.of_batch(local, chosen[part] == 0),
                **(self._positives(local, rows, targets, labels, part) if self._mask_right else {}),
                "valid": torch.from_numpy(padded.valid),
                "offset": part.start,
            }
            if self._read_of_targets is not None:
                made["target_descriptions"] = [self._read_of_targets[target] for target in targets[part]]
            yield made | {name: vectors_CD[targets[part]] for name, vectors_CD in self.fixed_targets.items()}

    def _positives(
        self, local: np.ndarray, rows: np.ndarray, targets: np.ndarray, labels: np.ndarray, part: slice
    ) -> dict[str, Tensor]:
        """Row i and column j: is target j right for query i, and is target i right for query j?"""
        columns = self.right.include(rows, targets[part][:, None], labels[part][:, None])
        return {
            "positives_rows": torch.from_numpy(self.right.include(local[:, None], targets, labels)),
            "positives_columns": torch.from_numpy(columns),
        }

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        extras = {name: batch[name] for name in EXTRAS if name in batch}
        found = model(batch["query"], batch["texts"], batch["target"], **extras)
        return dict(zip(("query", "target", "multimodal"), found, strict=False))

    def chunks(self, batch: dict[str, Any], rows: int) -> list[dict[str, Any]]:
        return [
            {name: batch[name][start : start + rows] for name in (*INPUTS, *EXTRAS) if name in batch}
            for start in range(0, len(batch["texts"]), rows)
        ]

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> Tensor:
        query_LD = outputs["query"].float()
        targets = {"si_ti": outputs["target"].float(), **{name: batch[name] for name in self.fixed_targets}}
        if "multimodal" in outputs:
            targets["si_tm"] = outputs["multimodal"].float()
        return self._loss.local(
            query_LD,
            targets,
            gather_rows(query_LD),
            {name: gather_rows(target_LD) for name, target_LD in targets.items()},
            batch["offset"],
            batch.get("positives_rows"),
            batch.get("positives_columns"),
            batch["valid"],
        )

    def validate(self) -> dict[str, float]:
        """mAP@10 of the validation split, in percent, corrected protocol; nothing where there is none."""
        if self.val is None:
            return {}
        metrics = []
        for queries, clips in self.val.groups("corrected"):
            triplets, texts = queries.triplets, queries.texts()
            asking = triplets["query_clip"].to_pylist()
            made = [
                self.retriever.embed_query(
                    self._features(self.query_vectors, asking[start : start + VALIDATION_BATCH]),
                    texts[start : start + VALIDATION_BATCH],
                    **self.extras.of_queries(asking[start : start + VALIDATION_BATCH]),
                )
                for start in range(0, len(texts), VALIDATION_BATCH)
            ]
            runs = rank_embeddings(
                torch.cat(made).float().cpu().numpy(),
                self.retriever.embed_target(self._features(self.vectors, clips)).float().cpu().numpy(),
                query_ids=triplets["query_id"].to_pylist(),
                query_clips=triplets["query_clip"].to_pylist(),
                gallery_clips=clips,
                depth=VALIDATION_DEPTH,
            )
            judged = answers(runs, triplets, pa.table({"clip_id": clips}), "corrected", "validation")
            metrics.append(per_query(judged, "corrected")[PRIMARY])
        return percent({PRIMARY: np.concatenate(metrics)})

    def finish(self) -> dict[str, Any]:
        self.retriever.save(self._out)
        marks = {"fingerprint": self.retriever.fingerprint, "target_fingerprint": self.retriever.target_fingerprint}
        with torch.inference_mode():
            return {**marks, **self.validate()}

    def _descriptions(self, root: Place) -> dict[int, str]:
        """What ECDE's second target reads of each right answer, by its row."""
        clip_ids = sorted(set(right_targets(self.train.triplets).flatten().to_pylist()))
        return dict(zip(self.vectors.rows(clip_ids), texts_about(root, clip_ids, "description"), strict=True))

    def _fixed_targets(
        self, root: Place, terms: Collection[str], captions: Place | None, multimodal: Sequence[str]
    ) -> dict[str, Tensor]:
        """Names of loss terms -> vectors of the right answers at the clips' own rows, as they are before training."""
        clip_ids = sorted(set(right_targets(self.train.triplets).flatten().to_pylist()))
        retriever, found = self.retriever, {}
        if "si_tc" in terms:
            embed: Callable[[list[str]], Tensor] | None
            embed = retriever.text if isinstance(retriever, ComposedRetriever) else retriever.text_target
            if embed is None:
                raise UserError("captions need a text encoder", "model.loss_terms.si_tc", "set it to 0 for this fusion")
            retriever.to(self.shard.device).eval()
            found["si_tc"] = caption_vectors(root, embed, clip_ids, captions)
        if "si_tm" in terms and multimodal:
            dim = retriever.video.dim if isinstance(retriever, ComposedRetriever) else retriever.dim
            found["si_tm"] = multimodal_vectors(multimodal, clip_ids, dim)
        rows = torch.from_numpy(self.vectors.rows(clip_ids))
        size = len(self.vectors.values)
        return {name: torch.zeros(size, v_ND.shape[1]).index_copy(0, rows, v_ND) for name, v_ND in found.items()}

    def _features(self, vectors: Vectors, clip_ids: list[str]) -> Tensor:
        return torch.from_numpy(vectors.values[vectors.rows(clip_ids)]).to(self.shard.device)
