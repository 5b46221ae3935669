"""Scores of targets' frames: made as published, written in the published file, read back as target_weights."""

from __future__ import annotations

import numpy as np
import published_files
import pytest
import tiny_joint
import torch

from covr import tables
from covr.clips import version
from covr.config.compose import build
from covr.embed.features import Features
from covr.embed.target_scores import score_targets
from covr.errors import UserError
from covr.job import Job
from covr.models import ComposedRetriever
from covr.models.joint.store import build_joint
from covr.storage import TableStore

LACKING = "112/101630001"
FILE = "scores/test/webvid8m-covr_test.csv"


def read(job: Job):
    return build(job.cfg.data).read(job.root)


@pytest.fixture
def job(tmp_path) -> Job:
    """WebVid-CoVR ingested, a tiny BLIP as the model, and random frame vectors of every clip but one."""
    data = published_files.write("webvid-covr", tmp_path / "data")
    away = "trainer.logger.uri=http://127.0.0.1:9"
    job = Job.from_overrides([*data, *tiny_joint.overrides("blip-covr"), f"out={tmp_path / 'out'}", away])
    dataset = read(job)
    for name in ("clips", "triplets"):
        TableStore(job.root / "tables" / name, name).publish(getattr(dataset, name), f"{name:0<32}")
    torch.manual_seed(0)
    retriever = build_joint(job.cfg.model)
    retriever.save(job.root / "pretrain/model")
    write_features(job, dataset.clips, lambda clip: clip != LACKING)
    return job


def write_features(job: Job, clips, wanted) -> None:
    encoder = ComposedRetriever.load(job.root / "pretrain/model").target_encoder
    features = Features(job.root, encoder.fingerprint())
    features.describe(encoder.sampling, version("decord"))
    random = np.random.default_rng(0)
    rows = [
        {"clip_id": clip, "key": key, "feature": "frames", "value": random.normal(size=120), "shape": [15, 8]}
        for clip, key in zip(clips["clip_id"].to_pylist(), features.keys(clips).to_pylist(), strict=True)
        if wanted(clip)
    ]
    features.write(tables.from_rows("features", rows))


def test_scores_are_cosines_of_frames_and_words_and_become_target_weights(job):
    result = score_targets(job)
    assert (result["queries"], result["scored"]) == (12, 10)
    files = [
        f"data.files.{split}={file}" for split, file in zip(("train", "val", "test"), result["files"], strict=True)
    ]
    root = job.root.local().parent / "data"
    again = read(Job.from_overrides(["data=webvid-covr", f"data.root={root}", "data.media=none", *files]))
    retriever = ComposedRetriever.load(job.root / "pretrain/model")
    features = Features(job.root, retriever.target_encoder.fingerprint())
    for row in again.triplets.to_pylist():
        (target,) = row["target_clips"]
        if target == LACKING:
            assert row["target_weights"] is None
            continue
        frames_TP = torch.from_numpy(features.read([target], "frames")[0])
        with torch.no_grad():
            text_P = retriever.text_target(row["modifications"])[0]
        expected = torch.nn.functional.cosine_similarity(frames_TP, text_P[None])
        np.testing.assert_allclose(row["target_weights"], expected, atol=0.6e-4)
    untouched = [name for name in again.triplets.column_names if name != "target_weights"]
    assert again.triplets.select(untouched) == read(job).triplets.select(untouched)


def test_done_once(job, capsys):
    first = score_targets(job)
    (job.root / FILE).write_bytes(b"mine")
    assert score_targets(job) == first
    assert "up to date" in capsys.readouterr().out
    (job.root / FILE).remove()
    score_targets(job)
    assert (job.root / FILE).exists()
    write_features(job, read(job).clips, lambda clip: clip == LACKING)  # embedded since
    assert score_targets(job)["scored"] == 12


def test_bytes_of_other_columns_stay_as_they_are(job):
    file = job.root.local().parent / "data/annotation/webvid-covr/webvid8m-covr_test.csv"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([lines[0] + b",note", *(line + b",caf\xe9" for line in lines[1:])]) + b"\n")
    score_targets(job)
    written = (job.root / FILE).read_bytes().splitlines()
    assert [line.endswith(b",caf\xe9") for line in written] == [False] + [True] * 4


def test_what_cannot_be_scored_is_told(tmp_path, job):
    cirr = Job.from_overrides([*published_files.write("cirr", tmp_path / "cirr"), f"out={tmp_path / 'cirr-out'}"])
    with pytest.raises(UserError, match=r"no column for scores \[data=cirr\]"):
        score_targets(cirr)
    data = [f"data.root={tmp_path / 'data'}", "data=webvid-covr", f"out={tmp_path / 'none'}"]
    with pytest.raises(UserError, match=r"no vector a frame.*model=blip-covr"):
        score_targets(Job.from_overrides(data))
    with pytest.raises(UserError, match=r"no model.*jobs/pretrain\.py"):
        score_targets(Job.from_overrides([*data, "model=blip-covr"]))
