"""Decode: many frames of a large picture, which are small once they are resized."""

import dataclasses

import numpy as np
import pyarrow as pa
from make_videos import make_video

from covr.clips import Sampling
from covr.clips.resize import Resize
from covr.embed import stages
from covr.storage import Place


def decoded(tmp_path, sampling) -> dict:
    stage = stages.Decode(Place(tmp_path), sampling, "decord", Resize(32))
    work = {"clip_id": "a", "key": "k", "uri": "a.mp4", "attempt": 1, "features": ["pooled"]}
    (row,) = stage(pa.Table.from_pylist([work], stages.TODO)).to_pylist()
    stage.decoder.close()
    return row


def test_frames_beyond_the_limit_of_one_decode_are_decoded_in_parts(tmp_path, monkeypatch):
    make_video(tmp_path / "a.mp4", num_frames=30)
    sampling = Sampling(kind="all", num_frames=24)
    whole = decoded(tmp_path, sampling)
    small = dataclasses.replace(stages.JOB_LIMITS, max_decoded_bytes=7 * 128 * 64 * 3)
    monkeypatch.setattr(stages, "JOB_LIMITS", small)
    parts = decoded(tmp_path, sampling)
    assert parts == whole
    assert whole["shape"] == [24, 3, 32, 32]
    assert len(np.unique(whole["frame_indices"])) == 24
