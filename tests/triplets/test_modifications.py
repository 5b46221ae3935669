"""A modification names what changes, all of it, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from covr.datasets.motions.grammar import grid
from covr.triplets.modifications import CHANGES, OTHER_SIDE, VALUES, write
from covr.triplets.pairs import hold_out, label_pairs, sample_evenly

LABELS = {str(label): label.attributes() for label in grid()}
PAIRS = label_pairs(LABELS)

SPEAKS_OF = {
    **{phrase: name for name, values in VALUES.items() for phrases in values.values() for phrase in phrases},
    **{phrase: "count" for phrases in CHANGES.values() for phrase in phrases},
    **dict.fromkeys(OTHER_SIDE, "side"),
}
"""phrase -> the attribute that it speaks of."""


def attributes_named(text: str) -> set[str]:
    """Which attributes a text speaks of, longest phrases first, each part of the text read once."""
    named = set()
    for phrase in sorted(SPEAKS_OF, key=len, reverse=True):
        if phrase in text:
            named.add(SPEAKS_OF[phrase])
            text = text.replace(phrase, "#")
    return named


@given(st.sampled_from(PAIRS), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_wordings_name_the_changed_attributes_only(pair, seed):
    source, target = LABELS[pair.source], LABELS[pair.target]
    wordings = write(pair, source, target, 4, np.random.default_rng(seed))
    assert len({wording.text for wording in wordings}) == 4
    for wording in wordings:
        assert attributes_named(wording.text) == set(pair.changed)
        assert [name for name, _ in wording.meaning] == list(pair.changed)
        for name, sense in wording.meaning:
            change = f"{int(target[name]) - int(source[name]):+d}" if name == "count" else "other"
            assert sense in (target[name], change)


def test_no_phrase_speaks_of_two_attributes_or_values():
    phrases = [phrase for values in VALUES.values() for group in values.values() for phrase in group]
    phrases += [phrase for group in CHANGES.values() for phrase in group] + list(OTHER_SIDE)
    assert len(set(phrases)) == len(phrases)


def test_pairs_are_all_that_differ_in_one_or_two_attributes():
    def differences(a, b):
        return sum(LABELS[a][name] != LABELS[b][name] for name in LABELS[a])

    expected = {(a, b) for a in LABELS for b in LABELS if differences(a, b) in (1, 2)}
    assert {(pair.source, pair.target) for pair in PAIRS} == expected
    assert all(len(pair.changed) == differences(pair.source, pair.target) for pair in PAIRS)


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_samples_and_held_out_pairs_are_even_over_kinds_of_edit(seed):
    rng = np.random.default_rng(seed)
    double = [pair for pair in PAIRS if len(pair.changed) == 2]
    sample = sample_evenly(double, 270, rng)
    assert len(set(sample)) == len(sample) == 270
    held = hold_out(sample, 0.2, rng)
    for edit in {pair.edit for pair in sample}:
        assert sum(pair.edit == edit for pair in held) in (9, 10)
    kept = {(pair.source, pair.target) for pair in set(sample) - held}
    assert not any((pair.target, pair.source) in kept for pair in held)
