from __future__ import annotations

import numpy as np
import pytest

from covr.errors import UserError
from covr.train.augment import Augment, Flip

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 10), dtype=np.uint8)
FLIP = Flip(attribute="side", swap=("left", "right"))


def test_nothing_asked_for_changes_nothing():
    assert np.array_equal(Augment()(FRAMES, False, np.random.default_rng(0)), FRAMES)


def test_mirrored_is_mirrored_in_every_frame():
    assert np.array_equal(Augment(flip=FLIP)(FRAMES, True, np.random.default_rng(0)), FRAMES[..., ::-1])


def test_a_shift_repeats_the_edge_and_moves_all_frames_alike():
    shifted = {Augment(shift=1)(FRAMES, False, np.random.default_rng(seed)).tobytes() for seed in range(60)}
    padded = np.pad(FRAMES, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    assert shifted == {padded[:, :, y : y + 8, x : x + 10].tobytes() for y in range(3) for x in range(3)}


def test_light_keeps_the_order_of_pixels_and_stays_in_range():
    lit = [Augment(gain=0.2)(FRAMES, False, np.random.default_rng(seed)) for seed in range(20)]
    assert {frames.dtype for frames in lit} == {np.dtype(np.uint8)}
    order = np.argsort(FRAMES, axis=None, kind="stable")
    assert all((np.diff(frames.ravel()[order].astype(int)) >= 0).all() for frames in lit)
    assert len({frames.mean() > FRAMES.mean() for frames in lit}) == 2, "some lighter, some darker"


def test_half_is_mirrored_where_a_flip_is_configured():
    assert not Augment().mirrored(1000, np.random.default_rng(0)).any()
    assert 400 < Augment(flip=FLIP).mirrored(1000, np.random.default_rng(0)).sum() < 600


def test_a_flip_needs_two_values():
    with pytest.raises(UserError, match="swaps two values"):
        Flip(attribute="side", swap=("left",))
