from __future__ import annotations

import av
import numpy as np
import pytest

from covr.clips import Sampling
from covr.clips.decode import decode
from covr.errors import UserError
from covr.train.clipframes import DecodedFrames

SAMPLING = Sampling(num_frames=4)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("clips") / "grey.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = stream.gop_size = 64
        stream.pix_fmt = "yuv420p"
        for n in range(30):
            picture = np.full((64, 64, 3), 8 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def frames_of(path: str) -> DecodedFrames:
    def halve(frames):
        return frames[..., ::2, ::2]

    return DecodedFrames(files={"clip": (path, None, None)}, decoder="decord", resize=halve)


def test_the_frames_are_those_of_a_decode_resized(video):
    found = frames_of(video).sample("clip", SAMPLING)
    assert np.array_equal(found, decode(video, SAMPLING).frames[..., ::2, ::2])


def test_drawn_frames_follow_the_generator(video):
    draws = [frames_of(video).sample("clip", SAMPLING, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_a_clip_that_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")
    with pytest.raises(UserError, match=r"cannot be decoded .*\[clip\]: with model.pretrain.cache_frames above 0"):
        frames_of(str(tmp_path / "bad.mp4")).sample("clip", SAMPLING)
