"""Decode: many frames of a large picture, which are small once they are resized; a process that dies."""

import dataclasses
import os
import signal
import threading
import time

import numpy as np
import pyarrow as pa
from make_videos import make_long, make_video

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


def test_a_clip_whose_decode_process_was_killed_is_decoded_again_at_once(tmp_path):
    """It was refused, and a finished step never came back to it."""
    make_long(tmp_path / "a.mp4", repeats=20)
    stage = stages.Decode(Place(tmp_path), Sampling(num_frames=4), "decord", Resize(32))
    stage.decoder.probe(str(tmp_path / "a.mp4"))  # its process has started
    killed = stage.decoder.pid

    def kill() -> None:
        time.sleep(0.2)  # the decode takes longer
        os.kill(killed, signal.SIGKILL)

    threading.Thread(target=kill).start()
    work = {"clip_id": "a", "key": "k", "uri": "a.mp4", "attempt": 1, "features": ["pooled"]}
    (row,) = stage(pa.Table.from_pylist([work], stages.TODO)).to_pylist()
    assert stage.decoder.pid != killed
    stage.decoder.close()
    assert (row["reason"], row["attempt"], row["shape"]) == (None, 2, [4, 3, 32, 32])
