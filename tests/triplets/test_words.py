"""Pairs of labels that differ in one place, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from covr.triplets.words import MOST_WORDS, differences, words_of, write_difference

LABEL = st.lists(st.sampled_from(["jump", "spin", "twice", "on", "beam"]), min_size=1, max_size=5).map(" ".join)
RNG = np.random.default_rng(0)


def by_hand(source: str, target: str) -> tuple[str, str] | None:
    """The least difference in one place with something left over, by trying every place."""
    a, b = source.split(), target.split()
    found = []
    for start, left, right in itertools.product(range(6), range(MOST_WORDS + 1), range(MOST_WORDS + 1)):
        fits = start + left <= len(a) and start + right <= len(b) and len(a) > left and len(b) > right
        if fits and a[:start] == b[:start] and a[start + left :] == b[start + right :]:
            removed, added = " ".join(a[start : start + left]), " ".join(b[start : start + right])
            found.append((len(removed) + len(added), removed, added))
    return min(found)[1:] if found else None


@given(st.lists(LABEL, min_size=2, max_size=6, unique=True))
def test_pairs_are_those_found_by_trying_every_place(labels):
    found = {(d.pair.source, d.pair.target): d for d in differences(labels, RNG)}
    expected = {(a, b): by_hand(a, b) for a, b in itertools.permutations(labels, 2)}
    if any(expected.values()):
        assert found.keys() == {pair for pair, difference in expected.items() if difference}
        for pair, d in found.items():
            assert len(d.removed) + len(d.added) == sum(map(len, expected[pair]))


@given(st.lists(LABEL, min_size=2, max_size=4, unique=True), st.integers(1, 8))
def test_wordings_say_the_difference_and_differ(labels, num):
    for difference in differences(labels, RNG):
        texts = write_difference(difference, num, RNG)
        assert len(set(texts)) == len(texts) <= num
        for text in texts:
            assert difference.added in text
            assert difference.added or difference.removed in text


def test_labels_without_a_word_in_common_differ_whole():
    (there, back) = differences(["long_jump", "Sprint"], RNG)
    assert (there.removed, there.added, there.pair.edit) == ("sprint", "long jump", "replace")
    assert (back.removed, back.added) == ("long jump", "sprint")
    assert words_of("Jump, (twice)!") == ("jump", "twice")
