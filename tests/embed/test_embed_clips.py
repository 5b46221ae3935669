"""Clips to features over real Ray: every clip once, bad ones apart, nothing twice."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
import ray
import torch
from omegaconf import OmegaConf

from covr.clips import decode
from covr.embed.features import Features
from covr.embed.frames import build_frame_cache
from covr.embed.job import embed_clips
from covr.embed.pipeline import todo
from covr.embed.quarantine import Quarantine
from covr.embed.read import pooled
from covr.embed.stages import Decode, Encode
from covr.errors import UserError
from covr.storage import TableStore

pytestmark = pytest.mark.usefixtures("ray_cluster")


def counts(result):
    return {name: result[name] for name in ("rows", "computed", "reused", "quarantined")}


def features(root, encoder):
    rows = Features(root.place, encoder.fingerprint()).store.read()
    return sorted(rows.to_pylist(), key=lambda row: (row["clip_id"], row["key"], row["feature"]))


def quarantine(root):
    return {
        row["clip_id"]: row for row in TableStore(root.place / "tables/quarantine", "quarantine").read().to_pylist()
    }


def test_bad_files_are_quarantined_and_the_rest_is_embedded_once(root, machine):
    root.add_videos(10)
    reasons = root.add_bad_five()
    root.rows.append(root.rows[3])  # the same clip twice
    root.publish()
    encoder = root.train(seed=0)
    machine.max_bad_fraction = 0.4

    result = embed_clips(root.place, root.model, machine)
    assert counts(result) == {"rows": 10, "computed": 10, "reused": 0, "quarantined": 5}
    assert {clip_id: row["reason"] for clip_id, row in quarantine(root).items()} == reasons
    rows = features(root, encoder)
    assert [row["clip_id"] for row in rows] == [f"clip{number:03d}" for number in range(10)]

    # As without Ray: decode, preprocess, encode, pool.
    clip = decode(str(root.media / "clip007.mp4"), encoder.sampling)
    with torch.inference_mode():
        expected = encoder.pool(encoder(encoder.preprocess(torch.from_numpy(clip.frames)[None])))[0]
    np.testing.assert_allclose(rows[7]["value"], expected, atol=1e-5)
    assert rows[7]["frame_indices"] == clip.indices.tolist()
    others = np.array([row["value"] for row in rows if row["clip_id"] != "clip007"])
    assert np.abs(others - np.array(rows[7]["value"])).max(axis=1).min() > 1e-2

    again = embed_clips(root.place, root.model, machine)
    assert counts(again) == {"rows": 10, "computed": 0, "reused": 10, "quarantined": 5}

    with pytest.raises(UserError, match=r"2 of 3 clips are missing \(nobody, gone\).*tables/clips"):
        pooled(root.place, encoder, ["clip000", "nobody", "gone"])
    with pytest.raises(UserError, match=r"1 of 2 clips are missing \(text\).*features.*jobs/embed.py"):
        pooled(root.place, encoder, ["clip000", "text"])
    assert len(pooled(root.place, encoder, [])) == 0

    # New, changed and mended clips are computed, the others are not.
    root.add_videos(1)
    (root.media / "clip002.mp4").write_bytes((root.media / "clip005.mp4").read_bytes())
    (root.media / "text.mp4").write_bytes((root.media / "clip006.mp4").read_bytes())
    for row in root.rows:
        row["sha256"] = (root.place / row["uri"]).sha256()
    root.publish()
    third = embed_clips(root.place, root.model, machine)
    assert counts(third) == {"rows": 12, "computed": 3, "reused": 9, "quarantined": 4}
    found = pooled(root.place, encoder, ["text", "clip002", "clip006", "clip005", "text"])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[[0, 1, 4]], found[[2, 3, 0]])


def test_another_encoder_computes_everything_again(root, machine):
    root.add_videos(3)
    root.publish()
    ids = ["clip002", "clip000"]
    first = root.train(seed=0)
    with pytest.raises(UserError, match=r"run jobs/embed.py first"):
        pooled(root.place, first, ids)
    embed_clips(root.place, root.model, machine)
    before = pooled(root.place, first, ids)

    second = root.train(seed=1)
    machine.features = ["pooled", "frames"]
    assert counts(embed_clips(root.place, root.model, machine))["computed"] == 3
    assert np.abs(pooled(root.place, second, ids) - before).max() > 1e-2
    np.testing.assert_array_equal(pooled(root.place, first.fingerprint(), ids), before)

    rows = features(root, second)
    assert [row["feature"] for row in rows] == ["frames", "pooled"] * 3
    assert [row["shape"] for row in rows[:2]] == [[4, 32], [32]]
    np.testing.assert_allclose(np.reshape(rows[0]["value"], (4, 32)).mean(axis=0), rows[1]["value"], atol=1e-6)


def test_too_many_bad_files_fail_the_job_until_more_are_allowed(root, machine):
    root.add_videos(4)
    root.add_bad_five()
    root.add("gone", "media/gone.mp4")
    root.publish()
    root.train(seed=0)
    for _ in range(2):  # the second run has nothing left to do, and fails as well
        with pytest.raises(UserError, match="6 of 10 clips are refused"):
            embed_clips(root.place, root.model, machine)
    assert quarantine(root)["gone"]["reason"] == "missing"
    machine.max_bad_fraction = 0.6
    assert counts(embed_clips(root.place, root.model, machine)) == {
        "rows": 4,
        "computed": 0,
        "reused": 4,
        "quarantined": 6,
    }


def test_an_unknown_feature_is_refused(root, machine):
    root.publish()
    root.train(seed=0)
    machine.features = ["tokens"]
    with pytest.raises(UserError, match="no feature 'tokens'"):
        embed_clips(root.place, root.model, machine)


def test_what_a_worker_finds_wrong_with_the_options_is_one_clear_error(root, machine):
    root.add_videos(1)
    root.publish()
    encoder = root.train(seed=0)
    with pytest.raises(UserError, match="takes 300 frames, allowed are 256"):
        build_frame_cache(root.place, root.clips, encoder, "decord", machine, 300)


def test_only_the_features_that_a_clip_lacks_are_computed(root):
    root.add_videos(2)
    root.publish()
    done = {"pooled": {("clip000", "k"), ("clip001", "k")}, "frames": {("clip001", "k")}}
    rows, _ = todo(root.clips, pa.array(["k", "k"]), done, Quarantine(root.place, "embed"))
    assert [(row["clip_id"], row["features"]) for row in rows.to_pylist()] == [("clip000", ["frames"])]


def test_a_plan_that_does_not_fit_is_refused_at_once(root, machine):
    root.add_videos(1)
    root.publish()
    root.train(seed=0)
    machine.decode_workers = 64
    start = time.monotonic()
    with pytest.raises(UserError, match="but the cluster has"):
        embed_clips(root.place, root.model, machine)
    assert time.monotonic() - start < 5


DRIVER = """
import sys
import ray
from omegaconf import OmegaConf
from covr.embed import pipeline
from covr.embed.job import embed_clips
from covr.embed.pipeline import todo
from covr.embed.quarantine import Quarantine
from covr.storage import Place
ray.init(address=sys.argv[3], log_to_driver=False)
pipeline._PART_S = 0.0  # a part a block
embed_clips(Place(sys.argv[1]), Place(sys.argv[1]) / "pretrain/model", OmegaConf.create(sys.argv[2]))
"""


def test_a_run_killed_midway_and_resumed_yields_the_rows_of_a_calm_one(root, machine, tmp_path):
    root.add_videos(40)
    root.publish()
    encoder = root.train(seed=0)
    calm = in_this_process(root, encoder, machine)
    store = Features(root.place, encoder.fingerprint()).store
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", DRIVER, str(root.place), OmegaConf.to_yaml(machine), address]
    driver = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 240
    while len(store.parts()) < 2 and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    kept = len(store.read())
    assert 0 < kept < 40

    resumed = embed_clips(root.place, root.model, machine)
    assert counts(resumed) == {"rows": 40, "computed": 40 - kept, "reused": kept, "quarantined": 0}
    found = {row["clip_id"]: row["value"] for row in features(root, encoder)}
    assert len(features(root, encoder)) == 40
    assert found == calm  # to the last bit


def in_this_process(root, encoder, machine):
    """The vectors of all clips, by the stages alone and in blocks of another make-up."""
    keys = pa.array([row["sha256"] for row in root.rows])
    rows, _ = todo(root.clips, keys, {"pooled": set()}, Quarantine(root.place, "embed"))
    decode_stage = Decode(root.place, encoder.sampling, machine.decoder, encoder.resize)
    encode_stage = Encode(lambda: encoder, machine.batch_clips, threads=1, device="cpu")
    found = {}
    for start in range(0, len(rows), 3):
        for row in encode_stage(decode_stage(rows.slice(start, 3))).to_pylist():
            found[row["clip_id"]] = row["value"]
    decode_stage.decoder.close()
    return found
