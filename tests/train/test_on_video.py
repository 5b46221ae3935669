"""Published methods on a stage-1 video encoder: they read its frames, learn, leave the targets alone and come back."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_joint
import torch

from covr.config.compose import build, compose
from covr.errors import UserError
from covr.losses import WeightedTargets
from covr.models import ComposedRetriever, build_video
from covr.models.joint.store import joint_on_video
from covr.storage import Place, TableStore
from covr.train.one_row import loss_terms
from covr.train.order import Order
from covr.train.task import Shard
from covr.train.triplets import TripletTask
from covr.train.vectors import Vectors

SMALL = ("model.init=scratch", "model.video.dim=16", "model.video.depth=1", "model.video.num_frames=4")
ROWS = ("cross-attention", "bse", "ecde", "covr2")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Place:
    root = Place(tmp_path_factory.mktemp("on_video"))
    tiny_joint.build_root(root)
    return root


def task_of(root: Place, row: str, *overrides: str, **options) -> TripletTask:
    given = ["model.joint.described_by=given"] if row in ("bse", "ecde") else []  # no encoder has looked at these clips
    model = compose([f"model=motions/{row}", *SMALL, *given, *overrides]).model
    torch.manual_seed(0)
    video = build_video(model).eval()
    ids = TableStore(root / "tables/clips", "clips").read(["clip_id"])["clip_id"].to_pylist()
    frames = np.random.default_rng(0).normal(1.0, 1.0, (len(ids), 4, 16)).astype(np.float32)
    Vectors.write(root / "frames.arrow", ids, frames)
    return TripletTask(
        Shard(rank=0, world=1, device=torch.device("cpu"), data_cpus=0),
        build=lambda: joint_on_video(model, video),
        loss=WeightedTargets(build(model.loss), loss_terms(model)),
        root=root,
        vectors=root / "frames.arrow",
        out=root / "out",
        **options,
    )


def batch_of(task: TripletTask) -> dict:
    return next(task.batches(Order(num_rows=task.num_rows, batch_size=6, seed=0), 0, 1))


@pytest.mark.parametrize("row", ROWS)
def test_it_learns_what_is_its_own_and_comes_back(root, row):
    task = task_of(root, row)
    retriever = task.retriever
    before = retriever.target_fingerprint, {name: value.clone() for name, value in retriever.named_parameters()}
    retriever.train()
    batch = batch_of(task)
    task.loss(task.forward(task.model, batch), batch).backward()
    torch.optim.SGD((value for value in retriever.parameters() if value.requires_grad), lr=0.1).step()
    moved = {name for name, value in retriever.named_parameters() if not torch.equal(value, before[1][name])}
    assert moved
    assert not any(name.startswith(("visual_encoder.", "vision_proj.")) for name in moved)
    assert retriever.target_fingerprint == before[0]
    retriever.eval()
    task.finish()
    again = ComposedRetriever.load(root / "out")
    assert again.fingerprint == retriever.fingerprint
    assert again.on_video


@pytest.mark.parametrize("row", ROWS)
def test_stored_frames_and_pictures_give_the_same(root, row):
    retriever = task_of(root, row).retriever.eval()
    pictures = torch.randint(0, 256, (2, 4, 3, 40, 40), dtype=torch.uint8)
    video = retriever.target_encoder
    assert video.fingerprint() == retriever.query_encoder.fingerprint()
    with torch.no_grad():
        stored = video.features(video.resize(pictures))["frames"]
        texts = {"texts": ["twice", "once more"]}
        if retriever.needs.query_description:
            texts["descriptions"] = ["someone jumps", "a roll"]
        near = {"atol": 1e-4, "rtol": 1e-4}
        assert torch.allclose(retriever.embed_query(pictures, **texts), retriever.embed_query(stored, **texts), **near)
        assert torch.allclose(retriever.embed_target(pictures), retriever.embed_target(stored), **near)


def test_targets_are_the_video_vectors_around_the_mean_of_the_right_answers(root):
    task = task_of(root, "cross-attention")
    values = torch.from_numpy(task.vectors.values.copy())
    center = values[np.unique(task.right.clips)].mean(dim=(0, 1))
    wanted = torch.nn.functional.normalize(values.mean(dim=1) - center, dim=-1)
    assert torch.allclose(task.retriever.embed_target(values), wanted, atol=1e-5)


def test_ecde_has_a_second_target_that_reads_the_targets_description(root):
    task = task_of(root, "ecde")
    task.retriever.eval()
    batch = batch_of(task)
    found = task.forward(task.model, batch)["multimodal"]
    other = {**batch, "target_descriptions": ["another text"] * 6}
    assert found.shape == (6, 16)
    assert torch.allclose(found.norm(dim=-1), torch.ones(6), atol=1e-5)
    assert not torch.allclose(task.forward(task.model, other)["multimodal"], found, atol=1e-3)
    outputs = task.forward(task.model, batch)
    without = {name: value for name, value in outputs.items() if name != "multimodal"}
    with pytest.raises(UserError, match="no target si_tm"):
        task.loss(without, batch)


def test_right_answers_are_negatives_only_where_that_is_asked_for(root):
    masked, not_masked = task_of(root, "cross-attention"), task_of(root, "cross-attention", mask_right=False)
    assert batch_of(masked)["positives_rows"].any()
    batch = batch_of(not_masked)
    assert "positives_rows" not in batch
    query = torch.nn.functional.normalize(torch.randn(6, 16), dim=-1)
    outputs = {"query": query, "target": query.flip(0)}
    assert not_masked.loss(outputs, batch) > masked.loss(outputs, batch_of(masked))
