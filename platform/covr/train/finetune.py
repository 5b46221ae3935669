"""Stage 2 as a job: every trainable row of the comparison is a retriever of its own, on the same budget and seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from omegaconf import DictConfig
from torch import nn

from covr.embed.read import SideFeatures
from covr.embed.refused import refused
from covr.errors import UserError
from covr.evaluate.queries import Queries
from covr.job import Job
from covr.models import ComposedRetriever, build_retriever, load_video
from covr.models.folder import load_exactly
from covr.models.fusion import Kind
from covr.models.joint import JointRetriever
from covr.models.joint.store import joint_on_video
from covr.models.text.words import Vocabulary
from covr.models.video.encoder import VideoEncoder
from covr.report.console import say
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint
from covr.tracking import RunLogger
from covr.train.fit import Watch
from covr.train.one_row import loss_terms, row_or_place, train_row
from covr.train.vector_files import pooled_file, side_files

CHANCE = "chance"  # nothing to train
MAIN = "composed"
FUSION_OF: dict[str, Kind | None] = {
    "composed": None,  # as configured
    "text-only": "text-only",
    "video-only": "video-only",
    "average": "average",
}


def finetune(job: Job, name: str = MAIN, watch: Watch | None = None) -> dict[str, Any]:
    """Train each row of `cfg.rows` and save it as `retrievers/<row>/`; the configured one under another name if given.

    `average` has nothing of its own to train: its text side is that of `text-only`. `watch` is called with each
    validation (see `fit`).

    Raises:
        UserError: an unknown row, or a step before this one was not run.
    """
    rows = [row for row in job.cfg.rows if row != CHANCE]
    for row in rows:
        if row not in FUSION_OF:
            raise UserError(f"no row {row!r}", "rows", f"choose from {', '.join([*FUSION_OF, CHANCE])}")
    loss_terms(job.cfg.model)
    model_place = job.root / "pretrain" / "model"
    if not model_place.is_dir():
        raise UserError("there is no stage-1 encoder", str(model_place), "run jobs/pretrain.py first")
    joint = "joint" in job.cfg.model
    if joint and rows != [MAIN]:
        raise UserError("a joint model is one row", f"rows={job.cfg.rows}", f"set rows=[{MAIN},{CHANCE}]")
    if joint and "video" not in job.cfg.model:
        return {name: _joint(job, name, partial(ComposedRetriever.load, model_place), watch)}
    if not joint and not job.cfg.model.finetune.max_epochs:
        return {
            called: _as_it_is(job, called, _given(job.cfg.model, FUSION_OF[row], model_place))
            for row, called in ((row, name if row == MAIN else row) for row in rows)
        }
    video = load_video(model_place)
    lacking = refused(job.root, video.fingerprint())
    queries = _queries(job.root, lacking)
    if joint:
        return {name: _joint(job, name, partial(_on_video, job.cfg.model, model_place), watch, video)}
    inputs = {"triplets": fingerprint(*(split.origin for split in queries)), "encoder": video.fingerprint()}
    start = row_or_place(job, job.cfg.model.ckpt.path)
    if start is not None:
        inputs["start"] = ComposedRetriever.load(start).fingerprint
    if job.cfg.model.get("rerank") is not None:
        if job.cfg.model.rerank.retriever is None:
            raise UserError("the second stage is needed", "model.rerank.retriever", "give a retriever's folder")
        inputs["rerank"] = ComposedRetriever.load(row_or_place(job, job.cfg.model.rerank.retriever)).fingerprint
    trained = sorted((row for row in rows if row != "average"), key=list(FUSION_OF).index)
    vectors, known = partial(pooled_file, job.root, queries, video), _vocabulary(queries[0])
    if job.cfg.model.get("query_frames", "all") == "middle":
        sides = SideFeatures(job.root, build_retriever(job.cfg.model, video))
        vectors = partial(side_files, job.root, queries, sides)
    builders = {row: partial(_retriever, job.cfg.model, FUSION_OF[row], model_place, start) for row in trained}
    results = {
        called: train_row(job, called, builders[row], vectors, known, lacking, inputs, watch)
        for row, called in ((row, name if row == MAIN else row) for row in trained)
    }
    if "average" in rows:
        results["average"] = _average(job, video, known)
    return results


def _on_video(model: DictConfig, video: Place) -> JointRetriever:
    return joint_on_video(model, load_video(video))


def _joint(
    job: Job, name: str, build: Callable[[], Any], watch: Watch | None, video: VideoEncoder | None = None
) -> dict[str, Any]:
    """Train the joint model from what is stored of the clips, or take it as it is where nothing is to be trained.

    Args:
        video: the stage-1 encoder that it is built on, where it is.
    """
    start: JointRetriever = build()
    learns = job.cfg.model.finetune.max_epochs and any(value.requires_grad for value in start.parameters())
    if video is None and not learns:
        return _as_it_is(job, name, start)
    start.check_trained_from_features()
    features = SideFeatures(job.root, start)
    lacking = frozenset[str]().union(*(refused(job.root, encoder) for encoder in features.encoders))
    queries = _queries(job.root, lacking)
    inputs = {
        "triplets": fingerprint(*(split.origin for split in queries)),
        "encoder": start.fingerprint if video is None else video.fingerprint(),
    }
    if start.train().needs.query_description is not None:
        inputs["texts"] = TableStore(job.root / "tables" / "texts", "texts").content_fingerprint()
    vectors = partial(side_files, job.root, queries, features)
    return train_row(job, name, build, vectors, _vocabulary(queries[0]), lacking, inputs, watch)


def _queries(root: Place, lacking: frozenset[str]) -> list[Queries]:
    """The splits that training reads."""
    train, val = Queries.to_train(root, lacking)
    if val is None:
        say("  the data set has no val split: nothing is validated while training")
    return [train] if val is None else [train, val]


def _as_it_is(job: Job, row: str, start: ComposedRetriever | JointRetriever) -> dict[str, Any]:
    """A row without training."""
    out = job.root / "retrievers" / row

    def work(run: RunLogger) -> dict[str, Any]:
        start.save(out)
        return {"target_fingerprint": start.target_fingerprint}

    inputs = {"start": start.fingerprint}
    return job.step(f"finetune/{row}", settings={}, inputs=inputs, outputs=[out / "config.json"], work=work)


def _given(model: DictConfig, fusion: Kind | None, video: Place) -> ComposedRetriever:
    """The retriever at `model.ckpt.path` around this root's encoder.

    Raises:
        UserError: none is given, or one whose fusion is another.
    """
    if model.ckpt.path is None:
        fix = "give the folder of a trained one: model.ckpt.path=OUT/retrievers/composed"
        raise UserError("nothing is to be trained, and no retriever is given", "model.finetune.max_epochs=0", fix)
    start = ComposedRetriever.load(model.ckpt.path)
    retriever = _retriever(model, fusion, video, model.ckpt.path)
    kind = retriever.fusion.config.kind
    if kind != start.fusion.config.kind and any(True for _ in retriever.fusion.parameters()):
        fix = f"set rows=[{MAIN}], or give a retriever of this kind"
        raise UserError(f"the retriever given is no {kind}, but a {start.fusion.config.kind}", model.ckpt.path, fix)
    retriever.center.copy_(start.center)
    return retriever


def _average(job: Job, video: VideoEncoder, known: Vocabulary) -> dict[str, Any]:
    """Put the text encoder of the text-only retriever beside the video vector, as trained."""
    source, out = job.root / "retrievers" / "text-only", job.root / "retrievers" / "average"
    if not source.is_dir():
        raise UserError("the row average takes its text encoder from text-only", "rows", "add text-only to rows")
    text_only = ComposedRetriever.load(source)

    def work(run: RunLogger) -> dict[str, Any]:
        retriever = build_retriever(job.cfg.model, video, "average")
        retriever.center.copy_(text_only.center)
        _load_part(retriever.text, text_only.text, str(source))
        retriever.save(out)
        known.write(out)
        return {"fingerprint": retriever.fingerprint, "target_fingerprint": retriever.target_fingerprint}

    return job.step(
        "finetune/average",
        settings={"row": "average", "center": job.cfg.model.center, "query_video": job.cfg.model.query_video},
        inputs={"text-only": text_only.fingerprint, "encoder": video.fingerprint()},
        outputs=[out / "config.json"],
        work=work,
    )


def _retriever(model: DictConfig, fusion: Kind | None, video: Place, place: Place | str | None) -> ComposedRetriever:
    """A new retriever around the stage-1 encoder, started from the one at `place` where one is given."""
    retriever = build_retriever(model, load_video(video), fusion)
    if place is not None:
        start = ComposedRetriever.load(place)
        _load_part(retriever.text, start.text, str(place))
        if retriever.fusion.config.kind == start.fusion.config.kind:
            _load_part(retriever.fusion, start.fusion, str(place))
    return retriever


def _load_part(part: nn.Module | None, source: nn.Module | None, where: str) -> None:
    if part is not None and source is not None:
        load_exactly(part, source.state_dict(), where)


def _vocabulary(queries: Queries) -> Vocabulary:
    """The words of every wording."""
    return Vocabulary.of(text for wordings in queries.triplets["modifications"].to_pylist() for text in wordings)
