"""Previews are small H.264 files whatever the clip is."""

from __future__ import annotations

import base64
import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from covr import tables
from covr.report.preview import FRAMES, SIDE, encode, previews
from covr.storage import Place


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, str]:
    root = Place(tmp_path_factory.mktemp("clips"))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (120, 36, 480, 3), dtype=np.uint8)
    (root / "long.mp4").write_bytes(encode(noise, Fraction(30)))
    (root / "bad.mp4").write_bytes(b"not a video")
    still = io.BytesIO()
    Image.fromarray(noise[0]).save(still, "PNG")
    (root / "still.png").write_bytes(still.getvalue())
    clips = [
        {"clip_id": "long", "uri": "long.mp4", "kind": "video", "width": 480, "height": 36},
        {
            "clip_id": "part",
            "uri": "long.mp4",
            "kind": "video",
            "start_s": 1.0,
            "end_s": 2.0,
            "width": 480,
            "height": 36,
        },
        {"clip_id": "bad", "uri": "bad.mp4", "kind": "video"},
        {"clip_id": "gone", "uri": "gone.mp4", "kind": "video"},
        {"clip_id": "still", "uri": "still.png", "kind": "image", "width": 480, "height": 36},
    ]
    return previews(root, tables.from_rows("clips", clips))


def opened(text: str) -> tuple[list[np.ndarray], float]:
    with av.open(io.BytesIO(base64.b64decode(text))) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return frames, float(len(frames) / stream.average_rate)


def test_a_long_clip_is_thinned_and_keeps_its_length(made):
    frames, seconds = opened(made["long"])
    assert len(frames) == FRAMES
    assert frames[0].shape == (16, SIDE, 3)
    assert seconds == pytest.approx(4.0, rel=0.05)


def test_a_stretch_of_a_file(made):
    frames, seconds = opened(made["part"])
    assert len(frames) == 30
    assert seconds == pytest.approx(1.0, rel=0.05)


def test_an_image_is_one_frame(made):
    assert len(opened(made["still"])[0]) == 1


def test_no_preview_has_other_bytes_now_and_then():
    """With x264's macroblock tree two reports of the same tables differed."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        shades = rng.integers(0, 255, (48, 8, 8, 3), dtype=np.uint8)
        frames = np.kron(shades, np.ones((1, 8, 8, 1), np.uint8))
        assert len({encode(frames, Fraction(10)) for _ in range(8)}) == 1


def test_what_cannot_be_decoded_has_no_preview(made):
    assert made.keys() == {"long", "part", "still"}
