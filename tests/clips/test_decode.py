"""Both decoders give the frames that were put in, or refuse with the right reason."""

import dataclasses
import os

import av
import numpy as np
import pytest
from make_videos import make_audio, make_corrupt, make_video, number_of, numbered
from PIL import Image

from covr.clips import DecodeFailure, Sampling, decode, probe, version
from covr.errors import UserError
from covr.limits import LIMITS

DECODERS = ["decord", "pyav"]
EVERY = Sampling(kind="all", num_frames=256)

GOOD = {
    "plain.mp4": {},
    "one-frame.mp4": {"num_frames": 1},
    "two-frames.mkv": {"num_frames": 2},
    "short-gop.mp4": {"gop": 5},
    "key-frames-only.mp4": {"gop": 1},
    "open-gop.mp4": {"gop": 3, "b_frames": 1, "x264": "open-gop=1"},
    "no-b-frames.mp4": {"b_frames": 0, "gop": 7},
    "padded-rows.mp4": {"width": 48, "height": 48},
    "odd-size.mp4": {"width": 131, "height": 67, "pixels": "yuv444p"},
    "ten-bit.mp4": {"pixels": "yuv420p10le"},
    "grey.mp4": {"pixels": "gray"},
    "frames.mkv": {},
    "frames.ts": {"gop": 10},
    "xvid.avi": {"codec": "mpeg4"},
    "b-frames.avi": {"gop": 12},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "av1.webm": {"codec": "libsvtav1"},
    "hevc.mp4": {"codec": "libx265"},
    "variable-rate.mp4": {"times": [n * n for n in range(30)], "gop": 5},
    "variable-rate.mkv": {"times": [3 * n + n % 2 for n in range(30)], "gop": 5},
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", GOOD)
def test_frames_are_the_ones_asked_for(tmp_path, name, decoder):
    path, facts = make_video(tmp_path / name, **GOOD[name]), GOOD[name]
    length = facts.get("num_frames", 30)
    for sampling in (EVERY, Sampling(num_frames=7), Sampling(kind="dense", num_frames=5, interval=9)):
        clip = decode(str(path), sampling, decoder=decoder)
        expected = sampling.indices(length)
        assert [number_of(frame) for frame in clip.frames] == clip.indices.tolist() == expected.tolist()
    assert clip.frames.dtype == np.uint8
    assert (clip.width, clip.height) == (facts.get("width", 128), facts.get("height", 64)) == clip.frames.shape[:1:-1]
    assert clip.num_frames == length


@pytest.mark.parametrize("name", ["plain.mp4", "padded-rows.mp4", "vp9.webm", "odd-size.mp4"])
def test_decoders_agree_on_pixels(tmp_path, name):
    path = str(make_video(tmp_path / name, **GOOD[name]))
    first, second = (decode(path, EVERY, decoder=decoder).frames.astype(int) for decoder in DECODERS)
    assert np.abs(first - second).max() <= 3


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("size", [(128, 64), (64, 48)])
def test_frames_are_turned_as_displayed(tmp_path, decoder, rotation, size):
    width, height = size
    path = make_video(tmp_path / "turned.mp4", width=width, height=height, num_frames=5, rotation=rotation)
    clip = decode(str(path), Sampling(num_frames=1), decoder=decoder)
    shown = clip.frames[0].transpose(1, 2, 0)
    expected = np.rot90(numbered(2, height, width), rotation // 90)
    assert np.abs(shown.astype(int) - expected).mean() < 8
    info = probe(str(path))
    assert (info.width, info.height) == (clip.width, clip.height) == shown.shape[1::-1]


def test_a_stretch_is_cut_by_time(tmp_path):
    path = str(make_video(tmp_path / "a.mp4", num_frames=60, gop=12))
    clip = decode(path, EVERY, start_s=0.5, end_s=1.1)
    assert clip.indices.tolist() == list(range(15, 33)) == [number_of(frame) for frame in clip.frames]
    assert clip.num_frames == 18
    assert probe(path, 0.5, 1.1).num_frames == 18
    assert decode(path, EVERY, start_s=1.5).indices.tolist() == list(range(45, 60))
    assert decode(path, EVERY, start_s=0.51, end_s=0.52).indices.tolist() == [15]  # the one on show
    with pytest.raises(DecodeFailure, match="empty"):
        decode(path, EVERY, start_s=2.0)
    with pytest.raises(DecodeFailure, match="empty"):
        decode(path, EVERY, start_s=1.0, end_s=0.5)


def test_a_stretch_of_a_variable_rate_is_cut_by_time(tmp_path):
    path = str(make_video(tmp_path / "a.mp4", **GOOD["variable-rate.mp4"]))
    clip = decode(path, EVERY, start_s=100 / 30, end_s=225 / 30)
    assert clip.indices.tolist() == [10, 11, 12, 13, 14]


def test_a_seed_draws_frames_at_random_and_alike(tmp_path):
    path = str(make_video(tmp_path / "a.mp4", num_frames=100))
    drawn = [decode(path, Sampling(num_frames=8), rng_seed=seed).indices.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_padding_frames_are_black(tmp_path):
    clip = decode(str(make_video(tmp_path / "a.mp4", num_frames=3)), Sampling(kind="covr", num_frames=5))
    assert clip.indices.tolist() == [0, 1, 2, -1, -1]
    assert not clip.frames[3:].any()
    assert clip.frames[:3].any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_an_image_is_a_clip_of_one_frame(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    Image.fromarray(numbered(5, 40, 90)).save(path, format=kind, exif=exif)
    clip = decode(str(path), Sampling(num_frames=4))
    assert clip.frames.shape == (4, 3, 90, 40)
    assert clip.indices.tolist() == [0, 0, 0, 0]
    assert np.abs(clip.frames[0].transpose(1, 2, 0).astype(int) - np.rot90(numbered(5, 40, 90), -1)).mean() < 8
    assert dataclasses.astuple(probe(str(path))) == ("image", 1, 0.0, 0.0, 40, 90, "image", "", "")


def test_a_probe_tells_what_a_file_is(tmp_path):
    info = probe(str(make_video(tmp_path / "a.mkv", num_frames=45)))
    assert (info.kind, info.num_frames, info.width, info.height) == ("video", 45, 128, 64)
    assert info.fps == pytest.approx(30, abs=0.1)
    assert info.duration_s == pytest.approx(1.5, abs=0.01)


def bad_files(folder):
    """name -> (path, reason)"""
    video = make_video(folder / "whole.mp4").read_bytes()
    fast = folder / "fast.mp4"
    with (
        av.open(str(folder / "whole.mp4")) as source,
        av.open(str(fast), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    matroska = make_video(folder / "whole.mkv", num_frames=90, gop=10).read_bytes()
    written = {
        "empty": (b"", "empty"),
        "random": (os.urandom(5000), "not-a-video"),
        "text": (b"hello, this is a text\n" * 99, "not-a-video"),
        "html": (b"<!DOCTYPE html><html><body>403</body></html>", "not-a-video"),
        "pdf": (b"%PDF-1.7\n" + b"0" * 999, "not-a-video"),
        "playlist": (b"#EXTM3U\n#EXTINF:1,\nwhole.mp4\n#EXT-X-ENDLIST\n", "not-a-video"),
        "concatenation": (b"ffconcat version 1.0\nfile whole.mp4\n", "not-a-video"),
        "gif": (b"GIF89a" + b"0" * 99, "not-a-video"),
        "box-and-nothing": (video[:40], "corrupt"),
        "index-missing": (video[: len(video) // 2], "corrupt"),
        "cut-off": (fast.read_bytes()[: len(video) * 6 // 10], "corrupt"),
        "cut-off-matroska": (matroska[: len(matroska) // 2], "corrupt"),
        "damaged-image": (b"\xff\xd8\xff\xe0" + b"0" * 500, "corrupt"),
    }
    files = {}
    for name, (data, reason) in written.items():
        (folder / f"{name}.mp4").write_bytes(data)
        files[name] = (folder / f"{name}.mp4", reason)
    files["corrupt"] = (make_corrupt(folder / "corrupt.mp4", num_frames=90), "corrupt")
    files["audio-only"] = (make_audio(folder / "audio.mp4"), "no-video-stream")
    files["other-codec"] = (make_video(folder / "other.mp4", codec="mjpeg", pixels="yuvj420p"), "no-video-stream")
    files["missing"] = (folder / "nowhere.mp4", "missing")
    files["folder"] = (folder, "not-a-video")
    os.mkfifo(folder / "pipe.mp4")  # would hang whoever opens it
    files["pipe"] = (folder / "pipe.mp4", "not-a-video")
    return files


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_bad_file_is_refused_with_its_reason(tmp_path, decoder):
    found = {}
    for name, (path, _) in (files := bad_files(tmp_path)).items():
        with pytest.raises(DecodeFailure) as failure:
            decode(str(path), EVERY, decoder=decoder)
        found[name] = failure.value.reason
        assert str(tmp_path) not in failure.value.detail
    assert found == {name: reason for name, (_, reason) in files.items()}


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("sampling", [EVERY, Sampling(kind="covr", num_frames=37), Sampling(num_frames=12)])
def test_parts_within_the_limit_are_the_whole(tmp_path, decoder, sampling):
    path = str(make_video(tmp_path / "a.mp4"))
    whole = decode(path, sampling, decoder=decoder)
    small = dataclasses.replace(LIMITS, max_decoded_bytes=5 * 128 * 64 * 3 + 1)
    frames, indices = [], []
    while len(indices) < whole.num_sampled:
        part = decode(path, sampling, decoder=decoder, limits=small, part_from=len(indices))
        assert part.num_sampled == whole.num_sampled
        assert len(part.indices) <= 5
        frames.append(part.frames)
        indices += part.indices.tolist()
    np.testing.assert_array_equal(np.concatenate(frames), whole.frames)
    assert indices == whole.indices.tolist()


@pytest.mark.parametrize(
    "limit",
    [
        {"max_pixels": 128 * 64 - 1},
        {"max_duration_s": 0.9},
        {"max_file_bytes": 1000},
        {"max_decoded_bytes": 30 * 128 * 64 * 3 - 1},
    ],
)
def test_a_clip_over_a_limit_is_refused(tmp_path, limit):
    path = str(make_video(tmp_path / "a.mp4"))
    with pytest.raises(DecodeFailure) as failure:
        decode(path, EVERY, limits=dataclasses.replace(LIMITS, **limit))
    assert failure.value.reason == "over-limit"


def test_an_image_over_the_limit_is_refused(tmp_path):
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    with pytest.raises(DecodeFailure, match="over-limit"):
        decode(str(tmp_path / "a.png"), EVERY, limits=dataclasses.replace(LIMITS, max_pixels=19_999))


def test_a_short_stretch_of_a_long_file_is_within_the_limit(tmp_path):
    path = str(make_video(tmp_path / "a.mp4", num_frames=90))
    limits = dataclasses.replace(LIMITS, max_duration_s=1.0)
    assert decode(path, EVERY, start_s=1.0, end_s=1.5, limits=limits).num_frames == 15


def test_a_container_that_is_not_allowed_is_refused(tmp_path):
    path = str(make_video(tmp_path / "a.mkv"))
    with pytest.raises(DecodeFailure, match="not-a-video"):
        decode(path, EVERY, limits=dataclasses.replace(LIMITS, containers=("avi",)))


def test_wrong_options_are_the_users(tmp_path):
    path = str(make_video(tmp_path / "a.mp4"))
    with pytest.raises(UserError, match="no decoder 'ffmpeg'"):
        decode(path, EVERY, decoder="ffmpeg")
    with pytest.raises(UserError, match="257 frames"):
        decode(path, Sampling(num_frames=257))


def test_the_version_names_every_library_that_decides_pixels():
    assert version("decord") == f"decord-0.6.0+av-{av.__version__}"
    assert version("pyav") == f"av-{av.__version__}"
