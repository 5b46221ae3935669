"""Decoded frames on disk: as decoded and resized, once, shared by processes."""

import pickle

import numpy as np
import pytest
import torch

from covr.clips import Sampling, decode
from covr.embed.frames import FrameCache, build_frame_cache
from covr.errors import UserError

pytestmark = pytest.mark.usefixtures("ray_cluster")


def build(root, encoder, machine, max_frames=16):
    return build_frame_cache(root.place, root.clips, encoder, "decord", machine, max_frames)


def files(cache):
    return {
        name: (cache.place / name).local().stat().st_mtime_ns for name in cache.place.list() if name != "index.parquet"
    }


def test_the_cache_holds_resized_frames_and_grows_by_what_is_new(root, machine):
    root.add_videos(5, num_frames=12)
    root.add_videos(2, num_frames=40)
    root.publish()
    encoder = root.train(seed=0)
    cache = build(root, encoder, machine)
    assert len(cache) == 7
    for clip_id, length in (("clip001", 12), ("clip006", 16)):
        clip = decode(str(root.media / f"{clip_id}.mp4"), Sampling(kind="all", num_frames=16))
        expected = encoder.resize(torch.from_numpy(clip.frames)[None])[0].numpy()
        frames = cache.frames(clip_id)
        assert frames.shape == (length, 3, 32, 32)
        np.testing.assert_array_equal(frames, expected)
        assert not frames.flags.writeable

    # A retrained encoder reads the same pixels; a new clip is added; a changed one is replaced.
    before = files(cache)
    root.add_videos(1, num_frames=9)
    root.add_bad_five()
    machine.max_bad_fraction = 0.7
    (root.media / "clip002.mp4").write_bytes((root.media / "clip005.mp4").read_bytes())
    root.rows[2]["sha256"] = (root.place / "media/clip002.mp4").sha256()
    root.publish()
    grown = build(root, root.train(seed=1), machine)
    assert grown.place.path == cache.place.path
    assert before.items() <= files(grown).items()  # nothing was written again
    assert len(grown) == 8
    assert len(grown.frames("clip007")) == 9
    np.testing.assert_array_equal(grown.frames("clip002"), grown.frames("clip005"))

    # Refused clips are not in it.
    assert "corrupt" not in grown
    with pytest.raises(UserError, match="not in the frame cache"):
        grown.frames("corrupt")

    # Opened elsewhere, as a training worker does.
    for opened in (FrameCache.open(grown.place), pickle.loads(pickle.dumps(grown))):
        np.testing.assert_array_equal(opened.frames("clip006"), grown.frames("clip006"))
        assert opened.clip_ids == grown.clip_ids
        assert "clip006" in opened


def test_a_cache_that_was_never_built_is_not_opened(root):
    with pytest.raises(UserError, match="no frame cache"):
        FrameCache.open(root.place / "frames/none")
