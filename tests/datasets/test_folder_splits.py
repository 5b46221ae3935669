"""Splits: nothing that belongs together is parted, and each split gets some of each label where there are enough."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_videos import make_video, textured

from covr.clips import Sampling, decode
from covr.datasets.folder.leakage import split_clips
from covr.datasets.folder.near import FRAMES, bits, near_pairs
from covr.datasets.folder.splits import Group, assign
from covr.datasets.folder.triplets_file import Asked
from covr.errors import UserError

SHARES = (0.7, 0.1, 0.2)
SAMPLING = Sampling(num_frames=FRAMES)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(0, 9))
def test_every_label_of_three_groups_is_in_every_split(labels, seed):
    found = assign([Group(labels=Counter([label])) for label in labels], SHARES, seed)
    for label, count in Counter(labels).items():
        splits = Counter(split for split, each in zip(found, labels, strict=True) if each == label)
        assert sum(splits.values()) == count
        assert len(splits) == (3 if count >= 3 else count)
        assert splits["train"] >= max(splits["val"], splits["test"])


@pytest.mark.parametrize("seed", range(5))
def test_a_video_of_two_labels_takes_no_splits_only_clip_of_one(seed):
    """Dealt out last, it left the test split without a label that had four videos of its own."""
    labels = [*[Counter("a")] * 5, *[Counter("b")] * 4, Counter("ab")]
    found = assign([Group(labels=each) for each in labels], SHARES, seed)
    for label in "ab":
        assert {split for split, each in zip(found, labels, strict=True) if label in each} == {"train", "val", "test"}


@given(st.lists(st.sampled_from([None, "train", "test"]), min_size=1, max_size=20))
def test_given_splits_stay_and_the_absent_one_is_taken_from_train(given_splits):
    groups = [Group(labels=Counter("a"), given=split) for split in given_splits]
    for asked, got in zip(given_splits, assign(groups, SHARES, 0), strict=True):
        absent = {"train", "val", "test"} - set(given_splits)
        allowed = {None: {"train", "val", "test"}, "train": {"train"} | absent, "test": {"test"}}[asked]
        assert got in allowed


@given(st.data())
def test_clips_of_one_source_look_alikes_and_triplets_stay_together(data):
    num = data.draw(st.integers(3, 14))
    sources = data.draw(st.lists(st.integers(0, 6), min_size=num, max_size=num))
    looks = data.draw(st.lists(st.integers(0, 9), min_size=num, max_size=num))
    hashes = [np.random.default_rng(look).random(256) < 0.5 for look in looks]
    clips = [
        {"clip_id": str(n), "label": "x", "source_video": f"v{source}", "asked_split": None}
        for n, source in enumerate(sources)
    ]
    asked = [Asked(id="q", query="0", modifications=["m"], targets=["1", "2"])]
    found = split_clips(clips, hashes, asked, SHARES, 0.03, seed=0)
    for i in range(num):
        for j in range(num):
            if sources[i] == sources[j] or looks[i] == looks[j]:
                assert found[str(i)] == found[str(j)]
    assert found["0"] == found["1"] == found["2"]


def test_a_source_in_two_given_splits_stays_so_and_is_told(capsys):
    clips = [
        {"clip_id": f"c{n}", "label": "x", "source_video": "v", "asked_split": split}
        for n, split in enumerate(("train", "test"))
    ]
    found = split_clips(clips, [np.zeros(8, bool)] * 2, [], SHARES, 0.0, seed=0)
    assert found == {"c0": "train", "c1": "test"}
    assert "leakage: 1 source video" in capsys.readouterr().out
    with pytest.raises(UserError, match="'c0' is asked for in the splits train and test"):
        split_clips(clips, [np.zeros(8, bool)] * 2, [Asked(id="q", query="c0", split="test")], SHARES, 0.0, seed=0)


def test_a_copy_in_another_codec_and_size_looks_alike_and_another_video_does_not(tmp_path):
    versions = [
        make_video(tmp_path / "a.mp4", width=240, height=120, seed=1, picture=textured),
        make_video(tmp_path / "b.webm", width=120, height=60, seed=1, picture=textured, codec="libvpx-vp9"),
        make_video(tmp_path / "c.mp4", width=240, height=120, seed=2, picture=textured),
    ]
    hashes = np.stack([bits(decode(str(path), SAMPLING).frames) for path in versions])
    assert list(near_pairs(hashes, 0.05)) == [(0, 1)]


@given(st.integers(0, 99), st.floats(0, 0.4))
def test_near_pairs_are_those_of_a_count_of_bits(seed, share):
    draw = np.random.default_rng(seed)
    hashes = draw.random((7, 40)) < draw.random((7, 1))
    expected = [(i, j) for i in range(7) for j in range(i + 1, 7) if (hashes[i] != hashes[j]).sum() <= share * 40]
    assert list(near_pairs(hashes, share)) == expected
