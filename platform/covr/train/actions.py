"""Stage 1 as a training task: a video encoder learns to tell action classes apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from covr.errors import UserError
from covr.models import AIM, ActionClassifier, build_video, save_video
from covr.report.confusion import picture
from covr.storage import Place
from covr.tracking import RunLogger
from covr.train.augment import Augment
from covr.train.batches import ActionBatches
from covr.train.classes import IGNORED, Classes
from covr.train.clipframes import Frames
from covr.train.order import Order
from covr.train.stream import stream
from covr.train.task import Shard

EVALUATION_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSettings:
    """What decides the result of stage 1 beside the recipe."""

    label_smoothing: float
    attribute_weight: float
    """Of the sum of the auxiliary losses, one per attribute; 0: no auxiliary heads."""
    attribute_smoothing: float
    dropout: float
    freeze: Literal["none", "aim"]
    """`aim`: all but temporal embedding, adapters, last norm and heads."""
    augment: Augment

    def __post_init__(self) -> None:
        if self.freeze not in ("none", "aim"):
            raise UserError("unknown freezing rule", f"model.pretrain.freeze={self.freeze}", "choose none or aim")


class ActionTask:
    """Cross-entropy on action labels, with auxiliary heads on their attributes where the settings ask for them.

    Args:
        shard: this worker's place.
        model: the `model` configuration; its `video` and `init` are built.
        settings: losses, dropout, augmentation.
        clips: clips table, all splits.
        frames: the clips' frames, resized for the encoder.
        out: the folder that gets `model/`, `classes.json` and `confusion.json`.
        logger: gets the confusion matrix as an artifact.
    """

    primary = "top-1"

    def __init__(
        self,
        shard: Shard,
        *,
        model: DictConfig,
        settings: ActionSettings,
        clips: pa.Table,
        frames: Frames,
        out: Place,
        logger: RunLogger,
    ) -> None:
        self.shard, self.settings, self.frames, self.out, self.logger = shard, settings, frames, out, logger
        self.splits = {name: clips.filter(pc.equal(clips["split"], name)) for name in ("train", "val", "test")}
        train = self.splits["train"]
        if not len(self.splits["val"]):
            raise UserError("there are no clips to validate on", "clips: split val", "give a data set with a val split")
        self.classes = Classes.of(train, with_attributes=settings.attribute_weight > 0)
        self.encoder = build_video(model)
        if settings.freeze == "aim" and isinstance(self.encoder, AIM):
            self.encoder.freeze()
        self.model: nn.Module = ActionClassifier(
            self.encoder, self.classes.labels, self.classes.attributes, settings.dropout
        )
        self.num_rows = len(train)

    def batches(self, order: Order, first: int, last: int) -> Iterator[dict[str, Any]]:
        made = ActionBatches.of(
            self.splits["train"],
            self.classes,
            self.frames,
            sampling=self.encoder.sampling,
            augment=self.settings.augment,
            order=order,
            shard=self.shard,
        )
        size = made.frames(first).nbytes
        frames = stream(made.frames, first, last, cpus=self.shard.data_cpus, batch_bytes=size)
        return (made.batch(step, batch) for step, batch in zip(range(first, last), frames, strict=True))

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        return model(self.encoder.normalise(batch["frames"]))

    def chunks(self, batch: dict[str, Any], rows: int) -> list[dict[str, Any]]:
        return [{"frames": frames} for frames in batch["frames"].split(rows)]

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> Tensor:
        smoothing = {"label": self.settings.label_smoothing}
        weights = {"label": 1.0}
        total = torch.zeros((), device=batch["targets"].device)
        for column, name in enumerate(self.classes.heads):
            summed = cross_entropy(
                outputs[name].float(),
                batch["targets"][:, column],
                ignore_index=IGNORED,
                label_smoothing=smoothing.get(name, self.settings.attribute_smoothing),
                reduction="sum",
            )
            total = total + weights.get(name, self.settings.attribute_weight) * summed / max(batch["counts"][column], 1)
        return total

    def validate(self) -> dict[str, float]:
        return self._accuracy("val")[0]

    def finish(self) -> dict[str, Any]:
        split = "test" if len(self.splits["test"]) else "val"
        with torch.inference_mode():
            accuracy, confusion = self._accuracy(split)
        matrix = {"labels": self.classes.labels, "counts": confusion.tolist()}
        (self.out / "confusion.json").write_json(matrix)
        self.logger.log_artifact("confusion.json", json.dumps(matrix).encode())
        self.logger.log_artifact("confusion.png", picture(confusion))
        (self.out / "classes.json").write_json({"labels": self.classes.labels, "attributes": self.classes.attributes})
        save_video(self.encoder, self.out / "model")
        attributes = {name: accuracy[f"accuracy/{name}"] for name in self.classes.attributes}
        return {
            "split": split,
            "top1": accuracy["top-1"],
            "top5": accuracy["top-5"],
            "attributes": attributes,
            "encoder": self.encoder.fingerprint(),
        }

    def _accuracy(self, split: str) -> tuple[dict[str, float], np.ndarray]:
        """Shares of right answers on a split, and its confusion matrix (true label, answer)."""
        clips = self.splits[split]
        targets, ids = self.classes.targets(clips), clips["clip_id"].to_pylist()
        sampling, hits = self.encoder.sampling, dict.fromkeys((*self.classes.heads, "top-5"), 0)
        confusion = np.zeros((len(self.classes.labels),) * 2, dtype=np.int64)
        for start in range(0, len(ids), EVALUATION_BATCH):
            chosen = ids[start : start + EVALUATION_BATCH]
            frames_BTCHW = torch.from_numpy(np.stack([self.frames.sample(clip_id, sampling) for clip_id in chosen]))
            outputs = self.model(self.encoder.normalise(frames_BTCHW.to(self.shard.device)))
            truth = targets[start : start + EVALUATION_BATCH]
            for column, name in enumerate(self.classes.heads):
                hits[name] += int((outputs[name].argmax(1).cpu().numpy() == truth[:, column]).sum())
            best = outputs["label"].topk(min(5, len(self.classes.labels))).indices.cpu().numpy()
            hits["top-5"] += int((best == truth[:, :1]).any(axis=1).sum())
            known = truth[:, 0] != IGNORED
            np.add.at(confusion, (truth[known, 0], best[known, 0]), 1)
        shares = {name: count / len(ids) for name, count in hits.items()}
        attributes = {f"accuracy/{name}": shares[name] for name in self.classes.attributes}
        return {"top-1": shares["label"], "top-5": shares["top-5"], **attributes}, confusion
