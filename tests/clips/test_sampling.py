import ast
import json
from pathlib import Path

import numpy as np
import pytest
from golden_values import Golden
from hypothesis import given
from hypothesis import strategies as st

from covr.clips import Sampling
from covr.errors import UserError

AIM = Golden("aim_vit_clip").facts["sample_frames"]
COVR = json.loads((Path(__file__).parent / "covr_frames.json").read_text())  # (taken, length) -> frames


@pytest.mark.parametrize("case", sorted(AIM))
def test_aim_rules_agree_with_the_published_ones(case):
    name, length = ast.literal_eval(case)
    expected = AIM[case]
    if name.startswith("uniform"):
        sampling = Sampling(kind="uniform", num_frames=int(name.removeprefix("uniform")))
    elif name == "dense1":
        sampling = Sampling(kind="dense", num_frames=8, interval=16)
    else:  # three runs of 32 frames, the second one centred
        sampling, expected = Sampling(kind="dense", num_frames=32, interval=4), expected[32:64]
    assert sampling.indices(length).tolist() == expected


@pytest.mark.parametrize("case", sorted(COVR))
def test_covr_rule_agrees_with_the_published_one(case):
    taken, length = ast.literal_eval(case)
    indices = Sampling(kind="covr", num_frames=taken).indices(length)
    assert len(indices) == taken
    assert indices[indices >= 0].tolist() == COVR[case]


def test_the_middle_frame():
    assert [Sampling(kind="middle", num_frames=1).indices(n).tolist() for n in (1, 2, 5, 90)] == [[0], [1], [2], [45]]
    with pytest.raises(UserError, match="one middle frame"):
        Sampling(kind="middle", num_frames=2)


def test_the_example_of_the_paper():
    expected = [3, 11, 18, 26, 33, 40, 48, 55, 63, 70, 78, 85]
    assert Sampling(num_frames=12).indices(90).tolist() == expected


@given(
    kind=st.sampled_from(["uniform", "dense", "covr", "all"]),
    taken=st.integers(1, 40),
    length=st.integers(1, 400),
    seed=st.none() | st.integers(0, 9),
)
def test_indices_are_frames_of_the_clip(kind, taken, length, seed):
    sampling = Sampling(kind=kind, num_frames=taken)
    draw = [sampling.indices(length, None if seed is None else np.random.default_rng(seed)) for _ in range(2)]
    np.testing.assert_array_equal(*draw)  # the seed decides
    indices = draw[0]
    assert indices.dtype == np.int64
    assert len(indices) == (min(taken, length) if kind == "all" else taken)
    padding = indices == -1
    assert padding.sum() == (max(0, taken - length) if kind == "covr" else 0)
    real = indices[~padding]
    assert ((real >= 0) & (real < length)).all()
    if kind != "dense":
        assert (np.diff(real) >= 0).all()


def test_random_frames_stay_in_their_segments():
    sampling = Sampling(num_frames=4)
    drawn = np.array([sampling.indices(81, np.random.default_rng(seed)) for seed in range(400)])
    assert drawn.min(axis=0).tolist() == [0, 20, 40, 60]
    assert drawn.max(axis=0).tolist() == [20, 40, 60, 80]


@pytest.mark.parametrize("wrong", [{"kind": "middle"}, {"num_frames": 0}, {"interval": 2}])
def test_a_wrong_rule_is_refused(wrong):
    with pytest.raises(UserError):
        Sampling(**wrong)
