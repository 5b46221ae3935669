"""Renditions: what browsers do not play becomes H.264 in MP4 that shows the same frames at the same times."""

from __future__ import annotations

import av
import numpy as np
import pytest
from make_videos import make_corrupt, make_video, number_of

from covr.clips import DecodeFailure, Sampling, decode, probe
from covr.clips.isolated import IsolatedDecoder
from covr.clips.playable import SIDE, plays_in_browsers

EVERY = Sampling(kind="all", num_frames=64)


@pytest.fixture(scope="module")
def decoder():
    with IsolatedDecoder() as isolated:
        yield isolated


@pytest.mark.parametrize(
    ("name", "video", "plays"),
    [
        ("phone.mov", {}, True),
        ("plain.mp4", {}, True),
        ("phone.mp4", {"codec": "libx265"}, False),
        ("deep.mp4", {"pixels": "yuv444p"}, False),
        ("site.webm", {"codec": "libvpx-vp9"}, True),
        ("site.mkv", {"codec": "libvpx-vp9"}, False),
        ("old.avi", {"codec": "mpeg4"}, False),
        ("camera.ts", {}, False),
    ],
)
def test_what_browsers_play(tmp_path, name, video, plays):
    info = probe(str(make_video(tmp_path / name, num_frames=5, **video)))
    assert plays_in_browsers(info, name) is plays


@pytest.mark.parametrize(
    ("name", "video"),
    [
        ("phone.mov", {"codec": "libx265", "rotation": 90, "width": 192, "height": 128}),
        ("varying.mkv", {"codec": "libx265", "times": [n + 7 * (n > 10) for n in range(24)]}),
        ("old.avi", {"codec": "mpeg4"}),
        ("odd.mp4", {"width": 129, "height": 65, "pixels": "yuv444p"}),
        ("large.ts", {"width": 1600, "height": 1442, "num_frames": 4}),
    ],
)
def test_a_rendition_shows_the_same_frames_upright_at_the_same_times(tmp_path, decoder, name, video):
    path = make_video(tmp_path / name, **{"num_frames": 24, **video})
    target = tmp_path / "made.mp4"
    decoder.transcode(str(path), str(target), probe(str(path)).duration_s)
    made, given = probe(str(target)), probe(str(path))
    assert plays_in_browsers(made, target.name)
    assert made.num_frames == given.num_frames
    assert made.duration_s == pytest.approx(given.duration_s, abs=0.04)
    assert (made.width > made.height) == (given.width > given.height)
    assert made.width % 2 == made.height % 2 == 0
    assert min(made.width, made.height) == min(SIDE, min(given.width, given.height) // 2 * 2)
    before, after = decode(str(path), EVERY).frames, decode(str(target), EVERY).frames
    if "rotation" not in video:
        assert [number_of(frame) for frame in after] == [number_of(frame) for frame in before]
    np.testing.assert_allclose(before.mean(axis=(0, 2, 3)), after.mean(axis=(0, 2, 3)), atol=6)
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert not container.streams.audio


def test_a_whole_file_may_be_longer_than_a_clip(tmp_path, decoder):
    path = make_video(tmp_path / "long.mp4", num_frames=400, fps=1, width=64, height=64)
    assert decoder.probe(str(path)).duration_s == pytest.approx(400)
    with pytest.raises(DecodeFailure, match="over-limit"):
        decoder.decode(str(path), EVERY)
    assert decoder.decode(str(path), EVERY, 350, 360).num_frames == 10


def test_a_refused_file_has_its_reason(tmp_path, decoder):
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    with pytest.raises(DecodeFailure, match="not-a-video"):
        decoder.probe(str(tmp_path / "text.mp4"))
    corrupt = make_corrupt(tmp_path / "corrupt.mp4", num_frames=90)
    with pytest.raises(DecodeFailure, match="corrupt"):
        decoder.transcode(str(corrupt), str(tmp_path / "made.mp4"), 3.0)
