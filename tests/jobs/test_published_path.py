"""The published path of TF-CoVR and of BSE-CoVR, end to end through the jobs, on files in the published format."""

from __future__ import annotations

import csv
import json
import pickle
from ast import literal_eval
from pathlib import Path

import numpy as np
import published_files
import pytest
import tiny_joint
import torch
from make_videos import make_video
from typer.testing import CliRunner

from covr.checkpoints.vectors import vectors
from covr.cli.main import commands
from covr.datasets.ingest import ingest
from covr.embed.job import embed
from covr.embed.read import SideFeatures
from covr.embed.target_scores import score_targets
from covr.errors import UserError
from covr.evaluate.job import evaluate
from covr.job import Job
from covr.models import ComposedRetriever, build_retriever, load_video
from covr.storage import Place
from covr.train.finetune import finetune
from covr.train.pretrain import pretrain

pytestmark = pytest.mark.usefixtures("ray_cluster")
STEPS = (ingest, pretrain, embed, finetune, evaluate)
SMALL = [
    "model.finetune.max_epochs=2",
    "model.finetune.batch_size=4",
    "model.optimizer.lr=0.01",
    "machine.decode_workers=1",
    "trainer.threads=1",
    "rows=[composed]",
    "test.bootstrap=10",
    "trainer.logger.uri=http://127.0.0.1:9",  # of a tracking server that is away: its journal is enough here
]
DIM = 8


def covr(*arguments: object) -> str:
    result = CliRunner().invoke(commands, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_tf_covr_from_a_pickle_and_a_folder_of_vectors(tmp_path):
    """Its README: vectors, training, `recalls_circo-test.json` and the detailed answers."""
    random = torch.Generator().manual_seed(0)
    values = {name: torch.randn(DIM, generator=random) for name in published_files.DIVES}
    (tmp_path / "gallery").mkdir()
    with (tmp_path / "aim.pkl").open("wb") as file:
        for name, value in values.items():
            pickle.dump({name: value}, file)
            torch.save(value, tmp_path / "gallery" / f"{name}.pth")
    data = published_files.write("tf-covr", tmp_path / "data")
    stored = ["model=tf-covr-base-tiny", "model/video=stored", "model/text=random", f"model.video.dim={DIM}"]
    files = f"model.video.files=[{tmp_path}/aim.pkl,{tmp_path}/gallery]"
    out = tmp_path / "out"
    job = Job.from_overrides([*data, *stored, files, *SMALL, "test=finegd-test-aim", f"out={out}"])
    for step in STEPS:
        step(job)

    numbers = json.loads((out / "recalls_circo-test.json").read_text())
    detailed = json.loads((out / "detailed_recalls_circo-test.json").read_text())
    assert {"mAP@5", "mAP@50", "Recall@5", "Recall@50"} <= numbers.keys()
    assert detailed.keys() == {"0", "1"}
    asked = ("--annotations", tmp_path / "data/test_finegd.csv", "--predictions", out / "run.trec", "--json")
    scored = json.loads(covr("score", "--protocol", "tf-covr", *asked))["columns"]["targets"]["metrics"]
    assert numbers["mAP@5"] == pytest.approx(scored["mAP@5"], abs=0.005)

    covr("export-features", out, tmp_path / "back")
    covr("export-features", out, tmp_path / "arrays", "--suffix", ".npy")
    for folder in ("back", "arrays"):
        found = dict(vectors(Place(tmp_path / folder), set(values)))
        assert found.keys() == values.keys()
        for name, value in values.items():
            np.testing.assert_array_equal(found[name], value)


def test_a_trained_retriever_is_tested_on_a_set_without_training_data(tmp_path):
    """EgoCVR from a CSV of embeddings, with what was trained elsewhere on vectors of the same encoder."""
    with (tmp_path / "EgoCVR_encoder.csv").open("w", newline="") as file:
        values = np.random.default_rng(0).normal(size=(len(published_files.EGO), 16)).round(4).tolist()
        clips = zip(published_files.EGO, map(str, values), strict=True)
        csv.writer(file).writerows([("clip_name", "clip_embeddings"), *clips])
    data = published_files.write("egocvr", tmp_path / "data")
    stored = ["model=tf-covr-base-tiny", "model/video=stored", "model/text=random", "model.video.dim=16"]
    stored += [f"model.video.files=[{tmp_path}/EgoCVR_encoder.csv]"]
    options = [*data, *stored, *SMALL, "test=egocvr", f"out={tmp_path / 'out'}"]
    for step in STEPS[:3]:
        step(Job.from_overrides(options))
    with pytest.raises(UserError, match="no queries to train on"):
        finetune(Job.from_overrides(options))
    trained = build_retriever(Job.from_overrides(options).cfg.model, load_video(Place(tmp_path / "out/pretrain/model")))
    trained.set_center(torch.ones(1, 16))
    trained.save(Place(tmp_path / "trained"))
    as_it_is = [*options, "model.finetune.max_epochs=0"]
    with pytest.raises(UserError, match=r"no retriever is given.*model\.ckpt\.path"):
        finetune(Job.from_overrides(as_it_is))
    job = Job.from_overrides([*as_it_is, f"model.ckpt.path={tmp_path / 'trained'}"])
    for step in STEPS[3:]:
        step(job)
    assert ComposedRetriever.load(Place(tmp_path / "out/retrievers/composed")).fingerprint == trained.fingerprint
    found = json.loads((tmp_path / "out/results.json").read_text())["benchmarks"]
    assert [entry["protocol"] for entry in found] == ["egocvr-global", "egocvr-local"]


def test_cirr_from_images_to_the_files_of_its_server(tmp_path):
    """An image is a clip of one frame; two of the three sets of images have answers in `val` alone."""
    data = [*published_files.write("cirr", tmp_path / "data"), "data.media=files", "data.splits=[val,test]"]
    for folder in ("dev", "test1"):
        for name in [*published_files.MEMBERS, "dev-9-9-img1"]:
            image = tmp_path / "data/images" / folder / f"{name.replace('dev', folder, 1)}.png"
            published_files.write_image(image)
    tiny = [*tiny_joint.overrides("blip-covr"), "model.joint.target_pooling=mean", "model.finetune.max_epochs=0"]
    for test, files in (("cirr-val", "recalls_cirr.json"), ("cirr", "recalls_cirr_subset.json")):
        job = Job.from_overrides([*data, *SMALL, *tiny, f"test={test}", f"out={tmp_path / 'out'}"])
        for step in STEPS:
            step(job)
        answers = json.loads((tmp_path / "out" / files).read_text())
        assert answers.keys() - {"version", "metric"} == ({"10", "11"} if test == "cirr-val" else {"20", "21"})
        numbers = json.loads((tmp_path / "out/results.json").read_text())["benchmarks"][0]["readings"]
        assert numbers.keys() == ({"published", "corrected"} if test == "cirr-val" else set())


@pytest.mark.drill
def test_finecvr_from_arrays_of_frames(tmp_path):
    """Its features of 8 frames, and no val split to validate on."""
    (tmp_path / "features").mkdir()
    for number in range(5):
        values = np.random.default_rng(number).normal(size=(8, 640)).astype(np.float32)
        np.save(tmp_path / "features" / f"video_{number}.npy", values)
    data = published_files.write("finecvr", tmp_path / "data")
    stored = ["model=tf-covr-base-tiny", "model/video=stored", "model/text=random", "model.video.dim=640"]
    stored += [f"model.video.files=[{tmp_path}/features]", "machine.features=[pooled,frames]"]
    job = Job.from_overrides([*data, *stored, *SMALL, "test=finecvr", f"out={tmp_path / 'out'}"])
    for step in STEPS:
        step(job)
    (found,) = json.loads((tmp_path / "out/results.json").read_text())["benchmarks"]
    assert found["readings"]["corrected"]["queries"] == 3


@pytest.fixture(scope="module")
def bse(tmp_path_factory) -> tuple[Path, Path, Job]:
    """Data root, storage root and job of a tiny BSE-CoVR after all steps."""
    data, out = tmp_path_factory.mktemp("dense"), tmp_path_factory.mktemp("out")
    published_files.write("dense-webvid-covr", data)
    for split, file in (("2M", "2m-covr_train"), ("8M", "8m-covr_val"), ("8M", "8m-covr_test")):
        with (data / f"annotation/dense-webvid-covr/webvid{file}.csv").open() as lines:
            names = {row[column] for row in csv.DictReader(lines) for column in ("pth1", "pth2")}
        for number, name in enumerate(sorted(names)):
            video = data / "WebVid" / split / "train" / f"{name}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            make_video(video, num_frames=16 + number, width=64, height=64, seed=len(name) + number)
    tiny = tiny_joint.overrides("bse-covr")
    named = ["data=dense-webvid-covr", f"data.root={data}", "test=dense-webvid-covr", f"out={out}"]
    job = Job.from_overrides([*named, *tiny, *SMALL])
    for step in STEPS:
        step(job)
    return data, out, job


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_bse_covr_in_two_steps(bse, tmp_path):
    """Its README: features, training, `query_feat.npy` from the test, `recalls.json` from the scores."""
    data, out, job = bse
    start, trained = (ComposedRetriever.load(Place(out / name)) for name in ("pretrain/model", "retrievers/composed"))
    assert not torch.equal(trained.prompt_proj.weight, start.prompt_proj.weight)
    assert np.load(out / "query_feat.npy").shape == (4, 8)
    by_job = json.loads((out / "recalls.json").read_text())
    assert by_job.keys() == {"R1", "R5", "R10", "R50", "meanR3", "meanR4", "annotation"}
    (out / "recalls.json").unlink()
    covr("score", "evaluate=dense-webvid-covr", out)
    assert json.loads((out / "recalls.json").read_text()) == by_job

    covr("export-features", out, tmp_path / "embs")  # what save_blip_embs_vids.py writes
    target = torch.load(tmp_path / "embs/112/101630010.pth", weights_only=True)
    assert target.shape == (15, 8)
    features = SideFeatures(Place(out), trained)
    np.testing.assert_array_equal(target, features.target(["112/101630010"])[0])
    full = data / "annotation/dense-webvid-covr/webvid8m-covr_test.csv"
    asked = ("score", "evaluate=dense-webvid-covr", out, "--annotations", full, "--targets", tmp_path / "embs")
    covr(*asked, "data.emb_pool=mean")  # as the gallery of the job
    assert json.loads((out / "recalls.json").read_text()) == by_job
    covr(*asked)  # by the scores of the file
    score_targets(job)
    scored = out / "scores/test/webvid8m-covr_test.csv"
    with scored.open() as lines:
        assert [len(literal_eval(row["scores"])) for row in csv.DictReader(lines)] == [15] * 4
    covr(*asked[:3], "--annotations", scored, *asked[5:])
    covr("export-features", out, tmp_path / "tokens", "--side", "query")
    assert torch.load(tmp_path / "tokens/112/101620020.pth", weights_only=True).shape == (5, 24)
