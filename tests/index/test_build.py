"""The index job on what the steps before it leave."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tiny_world
import torch

from covr import tables
from covr.clips import version
from covr.config.compose import build, compose
from covr.embed.features import Features
from covr.embed.quarantine import Quarantine
from covr.errors import UserError
from covr.evaluate.confidence import Confidence
from covr.index.build import index
from covr.index.current import Current
from covr.index.snapshot import Snapshot
from covr.job import Job
from covr.models import AIM, ComposedRetriever, build_retriever
from covr.storage import Place, TableStore


def retriever(seed: int) -> ComposedRetriever:
    torch.manual_seed(seed)
    cfg = compose(["model/fusion=average", "model/text=random"])
    return build_retriever(cfg.model, AIM(build(cfg.model.video))).eval()


def embed(root: Place, model: ComposedRetriever, without: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Features of every clip as embed leaves them; random values."""
    clips = TableStore(root / "tables/clips", "clips").read()
    features = Features(root, model.video.fingerprint())
    features.describe(model.video.sampling, version("decord"))
    rng = np.random.default_rng(0)
    rows, values = [], {}
    for clip_id, key in zip(clips["clip_id"].to_pylist(), features.keys(clips).to_pylist(), strict=True):
        values[clip_id] = rng.normal(size=model.video.dim).astype(np.float32)
        row = {"clip_id": clip_id, "key": key, "feature": "pooled", "value": values[clip_id].tolist()}
        row["shape"] = [model.video.dim]
        if clip_id not in without:
            rows.append(row)
    features.write(tables.from_rows("features", rows))
    return values


@pytest.fixture
def root(tmp_path):
    root = Place(tmp_path)
    tiny_world.build(root)
    return root


def job(root: Place, *overrides: str) -> Job:
    """Of a tracking server that is away: its journal is enough here, and a new database takes seconds."""
    return Job.from_overrides([f"out={root}", "trainer.logger.uri=http://127.0.0.1:9", *overrides])


def test_every_clip_of_the_split_is_found_where_the_retriever_puts_it(root):
    model = retriever(0)
    model.save(root / "retrievers/composed")
    values = embed(root, model)
    result = index(job(root))
    current = Current.read(root)
    assert current == Current(snapshot=result["snapshot"], retriever="retrievers/composed")
    snapshot = Snapshot.load(current.snapshot_place(root), target_fingerprint=model.target_fingerprint)
    assert snapshot.clip_ids == sorted(values)
    assert result["clips"] == len(snapshot) == len(values)
    for clip_id in ("c0-0", "c7-2"):
        target = model.embed_target(torch.from_numpy(values[clip_id])[None]).detach().numpy()
        (found,) = snapshot.search(target, 1)
        assert found.clip_ids == [clip_id]
        np.testing.assert_allclose(snapshot.features_NF[snapshot.row(clip_id)], values[clip_id])
    assert ComposedRetriever.load(current.retriever_uri(root)).target_fingerprint == model.target_fingerprint


def test_the_same_again_is_up_to_date_and_another_target_side_is_not(root, capsys):
    model = retriever(0)
    model.save(root / "retrievers/composed")
    embed(root, model)
    first = index(job(root))
    capsys.readouterr()
    assert index(job(root)) == first
    assert "index: up to date" in capsys.readouterr().out
    other = retriever(1)
    other.save(root / "retrievers/composed")
    embed(root, other)
    second = index(job(root))
    assert second["snapshot"] != first["snapshot"]
    assert Current.read(root).snapshot == second["snapshot"]


def test_the_confidence_of_first_answers_is_measured_on_the_validation_queries(root, capsys):
    model = retriever(0)
    model.save(root / "retrievers/composed")
    values = embed(root, model)
    store = TableStore(root / "tables/triplets", "triplets")
    clips = sorted(values)
    asked = [
        {
            "query_id": f"q{number}",
            "query_clip": clip,
            "modifications": [text],
            "target_clips": [clips[(number + step) % len(clips)] for step in range(1, 13)],
            "split": "val",
            "galleries": {"corrected": "of the test"},
        }
        for number, clip in enumerate(clips)
        for text in ("show it twice", "show it three times")
    ]
    store.publish(tables.from_rows("triplets", asked), "validation")
    gallery = [{"gallery_id": "of the test", "clip_id": clip} for clip in clips]
    galleries = TableStore(root / "tables/galleries", "galleries")
    galleries.publish(pa.concat_tables([galleries.read(), tables.from_rows("galleries", gallery)]), "with another")
    index(job(root, "index.confidence=0.2"))
    found = Confidence.read(root, model.fingerprint)
    with torch.no_grad():
        queries = torch.from_numpy(np.stack([values[row["query_clip"]] for row in asked]))
        query_QD = model.embed_query(queries, [row["modifications"][0] for row in asked])
        scores_QG = query_QD @ model.embed_target(torch.from_numpy(np.stack([values[clip] for clip in clips]))).T
    scores_QG[range(len(asked)), [clips.index(row["query_clip"]) for row in asked]] = -1
    best = [clips[column] for column in scores_QG.argmax(1)]
    right = np.array([clip in row["target_clips"] for clip, row in zip(best, asked, strict=True)])
    expected = Confidence.of(scores_QG.max(1).values.numpy(), right, 0.2)
    assert found.queries == 48
    assert found.score == pytest.approx(expected.score, abs=1e-5)
    assert found.share == expected.share


def test_a_named_gallery_only(root):
    model = retriever(0)
    model.save(root / "retrievers/composed")
    embed(root, model)
    store = TableStore(root / "tables/galleries", "galleries")
    extra = tables.from_rows("galleries", [{"gallery_id": "two", "clip_id": clip} for clip in ("c1-1", "c0-2")])
    store.publish(pa.concat_tables([store.read(), extra]), "with two")
    result = index(job(root, "index.gallery=two"))
    assert result["clips"] == 2
    assert index(job(root, "index.gallery=all"))["clips"] == len(TableStore(root / "tables/clips", "clips").read())
    with pytest.raises(UserError, match=r"index.gallery=nope.*two"):
        index(job(root, "index.gallery=nope"))


def test_a_clip_that_embed_refused_is_left_out_and_a_missing_one_is_not(root, capsys):
    model = retriever(0)
    model.save(root / "retrievers/composed")
    embed(root, model, without=("c3-1",))
    with pytest.raises(UserError, match=r"c3-1.*jobs/embed\.py"):
        index(job(root))
    clips = TableStore(root / "tables/clips", "clips").read()
    keys = Features(root, model.video.fingerprint()).keys(clips).to_pylist()
    key = dict(zip(clips["clip_id"].to_pylist(), keys, strict=True))["c3-1"]
    row = {"clip_id": "c3-1", "key": key, "uri": "x", "reason": "corrupt", "detail": "", "attempt": 1}
    Quarantine(root, "embed").write([row])
    assert index(job(root))["clips"] == len(clips) - 1
    assert "1 of 24 clips are in tables/quarantine" in capsys.readouterr().out


def test_steps_that_are_missing_are_named(root):
    with pytest.raises(UserError, match=r"never trained.*jobs/finetune\.py"):
        index(job(root))
    retriever(0).save(root / "retrievers/composed")
    with pytest.raises(UserError, match=r"jobs/embed\.py"):
        index(job(root))
