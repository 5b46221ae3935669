"""From decoded frames to pixels, and the fingerprint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covr.models import AIM, AIMConfig

CONFIG = AIMConfig(image_size=32, patch_size=16, num_frames=4, dim=16, depth=1, num_heads=2)
ENCODER = AIM(CONFIG)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_an_integer_factor_is_the_average_of_blocks(factor):
    frames = torch.randint(0, 256, (2, 4, 3, 32 * factor, 32 * factor), dtype=torch.uint8)
    blocks = frames.numpy().reshape(2, 4, 3, 32, factor, 32, factor).astype(np.float64).mean(axis=(4, 6))
    resized = ENCODER.resize(frames)
    assert resized.dtype == torch.uint8
    assert np.abs(resized.numpy() - blocks).max() <= 0.5


@settings(deadline=None, max_examples=25)
@given(height=st.integers(8, 200), width=st.integers(8, 200))
def test_any_size_becomes_the_centre_square(height, width):
    frames = torch.full((1, 4, 3, height, width), 7, dtype=torch.uint8)
    resized = ENCODER.resize(frames)
    assert resized.shape == (1, 4, 3, 32, 32)
    assert resized.dtype == torch.uint8
    assert resized.eq(7).all()


def test_the_crop_is_central():
    frames = torch.zeros(1, 1, 3, 64, 192, dtype=torch.uint8)
    frames[..., 64:128] = 200
    assert ENCODER.resize(frames).eq(200).all()


def test_normalised_by_the_channels_statistics():
    frames = torch.randint(0, 256, (1, 4, 3, 32, 32), dtype=torch.uint8)
    pixels = ENCODER.preprocess(frames)
    expected = (frames[0, 0, 2].float() - CONFIG.mean[2]) / CONFIG.std[2]
    torch.testing.assert_close(pixels[0, 0, 2], expected)


def test_sampling_says_which_frames_are_read():
    sampling = AIM(replace(CONFIG, sampling="dense", frame_interval=2)).sampling
    assert (sampling.kind, sampling.num_frames, sampling.interval) == ("dense", 4, 2)


def test_the_fingerprint_follows_weights_and_options_but_not_their_origin():
    torch.manual_seed(0)
    encoder = AIM(CONFIG)
    for changed in (replace(CONFIG, weights="elsewhere"), replace(CONFIG, mean=(0.0, 0.0, 0.0))):
        other = AIM(changed)
        other.load_state_dict(encoder.state_dict())
        assert (other.fingerprint() == encoder.fingerprint()) == (changed.weights is not None)
    before = encoder.fingerprint()
    with torch.no_grad():
        encoder.temporal_embedding[0, 0, 0, 0] += 1e-6
    assert encoder.fingerprint() != before
