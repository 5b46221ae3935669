"""A published set is embedded from vectors made elsewhere, with no video at hand."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from published_files import DIVES, write

from covr.config.compose import build, compose
from covr.datasets.ingest import ingest
from covr.embed.features import Features
from covr.embed.job import embed
from covr.embed.refused import refused
from covr.embed.stored import read_stored
from covr.errors import UserError
from covr.evaluate.queries import Queries
from covr.job import Job
from covr.models import ComposedRetriever, build_retriever, load_video
from covr.models.video.stored import Stored, StoredConfig, contents
from covr.storage import Place, TableStore
from covr.train.pretrain import pretrain

DIM = 8
VALUES = {name: torch.randn(DIM, generator=torch.Generator().manual_seed(n)) for n, name in enumerate(DIVES)}


def job(tmp_path, *overrides):
    vectors = [f"model.video.files=[{tmp_path}/aim.pkl,{tmp_path}/gallery]", f"model.video.dim={DIM}"]
    data = write("tf-covr", tmp_path / "data")
    out = f"out={tmp_path / 'out'}"
    return Job.from_overrides([*data, "model=tf-covr-base", "model/video=stored", *vectors, out, *overrides])


@pytest.fixture
def files(tmp_path):
    """The query side's pickle, without the last video, and the gallery's tensors, one a video."""
    with (tmp_path / "aim.pkl").open("wb") as file:
        for names in (DIVES[:2], DIVES[2:-1]):
            pickle.dump({name: VALUES[name] for name in names}, file)
    (tmp_path / "gallery").mkdir()
    for name in DIVES[1:3]:
        torch.save(VALUES[name], tmp_path / "gallery" / f"{name}.pth")
    return tmp_path


def test_vectors_stand_for_the_encoder(files):
    tiny = job(files, "machine.max_bad_fraction=0.2")
    for step in (ingest, pretrain):
        step(tiny)
    result = embed(tiny)
    assert (result["rows"], result["quarantined"]) == (5, 1)
    assert embed(tiny)["fingerprint"] == result["fingerprint"]
    encoder = load_video(tiny.root / "pretrain/model")
    features = Features(tiny.root, encoder.fingerprint())
    np.testing.assert_array_equal(features.read(DIVES[:5]), torch.stack([VALUES[name] for name in DIVES[:5]]))
    lacking = refused(tiny.root, encoder.fingerprint())
    assert lacking == {DIVES[5]}
    left = Queries.read(tiny.root, "test").without(lacking)
    assert left.triplets["target_clips"].to_pylist() == [[DIVES[4], DIVES[3]]]
    assert str(left.coverage).startswith("1 of 2 queries")

    cfg = compose(["model=tf-covr-base-tiny", "model/video=stored", "model/text=random", f"model.video.dim={DIM}"])
    retriever = build_retriever(cfg.model, encoder)
    retriever.save(tiny.root / "retriever")
    restored = ComposedRetriever.load(tiny.root / "retriever")
    assert restored.fingerprint == retriever.fingerprint
    assert restored.embed_target(torch.randn(2, DIM)).shape == (2, DIM)
    with pytest.raises(UserError, match="computed elsewhere"):
        restored.embed_target(torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8))


def read(files, dim=DIM, keep_frames=False, changed_since=None):
    """Embed tf-covr's clips from the files as they are."""
    root = Place(files / "out")
    dataset = build(compose(write("tf-covr", files / "data")).data).read(root)
    TableStore(root / "tables/clips", "clips").publish(dataset.clips, "made-by-a-test")
    uris = [f"{files}/aim.pkl", f"{files}/gallery"]
    encoder = Stored(StoredConfig(dim=dim, contents=contents(uris)))
    if changed_since:
        changed_since(files)
    return encoder, read_stored(root, encoder, uris, max_bad_fraction=0.1, frames=keep_frames)


def put_last(value):
    return lambda folder: torch.save(value, folder / "gallery" / f"{DIVES[5]}.pth")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: None, "1 of 6 clips are refused"),
        (lambda folder: torch.save(VALUES[DIVES[1]] + 1, folder / "gallery" / f"{DIVES[1]}.pth"), "disagree"),
        (put_last(torch.ones(3, 9)), r"model\.video\.dim=9"),
        (put_last(torch.full((8,), torch.nan)), "finite"),
        (lambda folder: (folder / "aim.pkl").unlink(), "no such file"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(files, change, says):
    change(files)
    with pytest.raises(UserError, match=says):
        read(files)


def test_tokens_are_pooled_before_frames_and_frames_are_kept_when_asked(files):
    tokens = torch.randn(4, 32, DIM)
    put_last(tokens)(files)
    encoder, _ = read(files, keep_frames=True)
    features = Features(Place(files / "out"), encoder.fingerprint())
    np.testing.assert_allclose(features.read(DIVES[5:])[0], tokens.mean(1).mean(0), atol=1e-6)
    rows = [row for row in features.store.read().to_pylist() if row["feature"] == "frames"]
    assert [(row["clip_id"], row["shape"]) for row in rows] == [(DIVES[5], [4, DIM])]


def test_vectors_changed_since_stage_1_are_told(files):
    with pytest.raises(UserError, match=r"jobs/pretrain\.py"):
        read(files, changed_since=put_last(VALUES[DIVES[5]]))


def test_no_files_of_vectors_is_told_first(tmp_path):
    with pytest.raises(UserError, match=r"model\.video\.files"):
        pretrain(Job.from_overrides(["model/video=stored", f"out={tmp_path}"]))
