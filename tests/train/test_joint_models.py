"""Joint models through the jobs: from clips to answers, and one step of training from stored features."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import tiny_joint
import torch

from covr import tables
from covr.clips import version
from covr.config.compose import build, compose
from covr.embed.features import Features
from covr.embed.job import embed
from covr.embed.read import SideFeatures
from covr.errors import UserError
from covr.evaluate.job import evaluate
from covr.evaluate.queries import Queries
from covr.index.build import index
from covr.job import Job
from covr.losses import WeightedTargets
from covr.models import ComposedRetriever
from covr.models.joint.store import build_joint
from covr.storage import Place, TableStore
from covr.train.finetune import finetune
from covr.train.order import Order
from covr.train.pretrain import pretrain
from covr.train.task import Shard
from covr.train.triplets import TripletTask
from covr.train.vectors import Vectors
from serve.pair import Pair
from serve.query import Query

TRAINED = [name for name in tiny_joint.SIZES if name not in ("blip-covr-visual", "blip2-video", "clip-average")]
FIXED = [
    "model.finetune.max_epochs=1",
    "model.finetune.batch_size=6",
    "machine.decode_workers=1",
    "trainer.threads=1",  # the endpoint of other tests may stand on the same cluster
    "rows=[composed,chance]",
    "test.bootstrap=10",
    "trainer.logger.uri=http://127.0.0.1:9",  # of a tracking server that is away: its journal is enough here
]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Place:
    root = Place(tmp_path_factory.mktemp("joint"))
    tiny_joint.build_root(root)
    return root


def job(root: Place, name: str, *options: str) -> Job:
    return Job.from_overrides([f"out={root}", *tiny_joint.overrides(name), *FIXED, *options])


@pytest.mark.usefixtures("ray_cluster")
def test_from_clips_to_answers(root):
    """Descriptions, image tokens and frame scores: what BSE-CoVR reads is what any joint model can read."""
    work = job(root, "bse-covr", "model.optimizer.lr=0.01")
    pretrain(work)
    start = ComposedRetriever.load(root / "pretrain/model")
    found = embed(work)
    assert (found["rows"], found["quarantined"]) == (48, 0)  # 24 clips for each side
    assert len(found["encoder"].split()) == 2
    features = SideFeatures(root, start)
    assert features.query(["c0-0"]).shape == (1, 5, 24)
    assert features.target(["c0-0"]).shape == (1, 6, 8)  # a clip of six frames
    watched: list[dict[str, float]] = []
    result = finetune(work, watch=watched.append)["composed"]
    assert watched[-1]["mAP@10"] == pytest.approx(result["mAP@10"])  # what jobs/tune.py judges joint models by as well
    trained = ComposedRetriever.load(root / "retrievers/composed")
    assert trained.fingerprint != start.fingerprint
    assert trained.target_fingerprint == start.target_fingerprint
    assert not torch.equal(trained.prompt_proj.weight, start.prompt_proj.weight)
    index(work)
    assert evaluate(work)["queries"] == 56
    pair = Pair.load(root)
    asked = [Query(text="show it twice", k=3, clip_id="c0-0")]
    asked.append(Query(text="show it", k=3, frames_TCHW=np.zeros((1, 3, 40, 30), np.uint8), description="a floor"))
    for answer in pair.answer(asked):
        assert len(answer.clips) == 3


def store(root: Place, retriever) -> dict[str, Place]:
    """Random features of every clip in the tables of both sides, and the files of them that training reads."""
    clips = TableStore(root / "tables/clips", "clips").read()
    ids = clips["clip_id"].to_pylist()
    random = np.random.default_rng(0)
    for encoder in (retriever.target_encoder, retriever.query_encoder):
        if encoder is None:
            continue
        side, resize = encoder.sampling, encoder.resize
        frames = torch.zeros(1, side.num_frames, 3, 8, 8, dtype=torch.uint8)
        feature, shape = encoder.writes[0], encoder.features(resize(frames))[encoder.writes[0]].shape[1:]
        features = Features(root, encoder.fingerprint())
        features.describe(side, version("decord"))
        rows = [
            {
                "clip_id": clip,
                "key": key,
                "feature": feature,
                "value": random.normal(size=shape).ravel(),
                "shape": shape,
            }
            for clip, key in zip(ids, features.keys(clips).to_pylist(), strict=True)
        ]
        features.write(tables.from_rows("features", rows))
    sides = SideFeatures(root, retriever)
    files = {"vectors": root / "target.arrow", "query_vectors": root / "query.arrow"}
    Vectors.write(files["vectors"], ids, sides.target(ids))
    Vectors.write(files["query_vectors"], ids, sides.query(ids))
    return files


@pytest.mark.parametrize("name", TRAINED)
def test_one_step_on_stored_features(tmp_path, name):
    root = Place(tmp_path)
    tiny_joint.build_root(root)
    model = compose(tiny_joint.overrides(name)).model
    torch.manual_seed(0)
    retriever = build_joint(model).eval()
    retriever.check_trained_from_features()
    with torch.no_grad():
        files = store(root, retriever)
    task = TripletTask(
        Shard(rank=0, world=1, device=torch.device("cpu"), data_cpus=0),
        build=lambda: retriever,
        loss=WeightedTargets(build(model.loss), {"si_ti": 0.5, "si_tc": 0.5}),
        root=root,
        out=root / "out",
        **files,
    )
    before = retriever.target_fingerprint, {name: value.clone() for name, value in retriever.named_parameters()}
    task.model.train()
    optimizer = torch.optim.SGD((value for value in retriever.parameters() if value.requires_grad), lr=0.1)
    batch = next(task.batches(Order(num_rows=task.num_rows, batch_size=6, seed=0), 0, 1))
    loss = task.loss(task.forward(task.model, batch), batch)
    parts = [task.forward(task.model.eval(), part) for part in task.chunks(batch, 4)]
    assert [len(part["query"]) for part in parts] == [4, 2]
    loss.backward()
    optimizer.step()
    moved = {name for name, value in retriever.named_parameters() if not torch.equal(value, before[1][name])}
    assert moved
    assert moved <= {name for name, value in retriever.named_parameters() if value.requires_grad}
    assert retriever.target_fingerprint == before[0]
    task.model.eval()
    result = task.finish()
    assert 0 <= result["mAP@10"] <= 100
    assert ComposedRetriever.load(root / "out").fingerprint == result["fingerprint"]


def test_ecde_learns_from_multimodal_targets_computed_elsewhere(tmp_path):
    """One file a clip, one equal row a frame, as published; 0.8 of the loss is the clip's, 0.2 theirs."""
    root, folder = Place(tmp_path / "root"), tmp_path / "all-multimodel"
    tiny_joint.build_root(root)
    folder.mkdir()
    clips = TableStore(root / "tables/clips", "clips").read()["clip_id"].to_pylist()
    readings = dict(zip(clips, torch.randn(len(clips), 8), strict=True))
    for clip, reading in readings.items():
        torch.save(reading.expand(15, 8).clone(), folder / f"{clip}.pth")
    torch.manual_seed(0)
    cfg = compose([*tiny_joint.overrides("ecde"), "model/loss_terms=si_ti+si_tm"]).model
    retriever = build_joint(cfg).eval()
    with torch.no_grad():
        files = store(root, retriever)
    make = partial(
        TripletTask, Shard(rank=0, world=1, device=torch.device("cpu"), data_cpus=0), build=lambda: retriever,
        loss=WeightedTargets(build(cfg.loss), {"si_ti": 0.8, "si_tm": 0.2}), root=root, out=root / "out", **files,
    )  # fmt: skip
    task = make(multimodal=[str(folder)])
    batch = next(task.batches(Order(num_rows=task.num_rows, batch_size=6, seed=0), 0, 1))
    row_of = {tuple(value.ravel()): row for row, value in enumerate(task.vectors.values)}
    drawn = [clips[row_of[tuple(value.ravel())]] for value in batch["target"].numpy()]
    expected = torch.nn.functional.normalize(torch.stack([readings[clip] for clip in drawn]), dim=-1)
    torch.testing.assert_close(batch["si_tm"], expected)
    outputs = task.forward(task.model, batch)
    loss = partial(build(cfg.loss), outputs["query"], positives=batch["positives_rows"])
    torch.testing.assert_close(
        task.loss(outputs, batch), 0.8 * loss(outputs["target"]) + 0.2 * loss(expected), rtol=0, atol=1e-5
    )
    (folder / f"{drawn[0]}.pth").unlink()
    with pytest.raises(UserError, match=r"1 of \d+ clips have no multimodal vector"):
        make(multimodal=[str(folder)])
    with pytest.raises(UserError, match=r"multimodal targets .* are needed"):
        finetune(job(root, "ecde", "model/loss_terms=si_ti+si_tm"))


@pytest.mark.parametrize("name", ["blip-covr-visual", "blip2-video"])
def test_a_model_that_trains_its_picture_side_is_refused(tmp_path, name):
    root = Place(tmp_path)
    pretrain(job(root, name))
    with pytest.raises(UserError, match=r"stored features cannot .*max_epochs=0"):
        finetune(job(root, name))
    finetune(job(root, name, "model.finetune.max_epochs=0"))
    trained = ComposedRetriever.load(root / "retrievers/composed")
    assert trained.fingerprint == ComposedRetriever.load(root / "pretrain/model").fingerprint


def test_what_is_missing_is_one_line(tmp_path):
    root = Place(tmp_path)
    with pytest.raises(UserError, match=r"the weights of blip-covr are needed \[model.ckpt.path\]"):
        pretrain(job(root, "blip-covr", "model.init=published"))
    pretrain(job(root, "clip-average"))
    with pytest.raises(UserError, match=r"one row .*rows=\[composed,chance\]"):
        finetune(job(root, "clip-average", "rows=[composed,text-only]"))
    finetune(job(root, "clip-average"))  # nothing to train: taken as it is
    tiny_joint.build_root(root)
    queries = Queries.read(root, "test")
    retriever = ComposedRetriever.load(root / "retrievers/composed")
    with pytest.raises(UserError, match=r"run jobs/embed.py first"):
        SideFeatures(root, retriever).target(queries.triplets["query_clip"].to_pylist())
