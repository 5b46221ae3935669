"""The words that a retriever was trained on, and whether it reads a text to its end."""

from __future__ import annotations

import pytest
import tiny_joint
from hypothesis import given
from hypothesis import strategies as st

from covr.config.compose import compose
from covr.models.joint.store import build_joint
from covr.models.text import TextConfig, TextEncoder
from covr.models.text.cleaning import clean, unclipped
from covr.models.text.words import Vocabulary, words
from covr.storage import Place


def test_words_are_told_apart_as_people_do():
    assert words("Don't SPIN 2.5 times, spin left-handed!") == [
        *("don't", "spin", "two", "and", "a", "half", "times", "left-handed")
    ]
    assert words("  ?! ") == []


def test_what_is_unseen(tmp_path):
    place = Place(tmp_path)
    assert Vocabulary.read(place) is None
    Vocabulary.of(["show it with two turns", "on the beam"]).write(place)
    known = Vocabulary.read(place)
    assert known is not None
    assert known.unseen("Show it with 2 turns on the BEAM") == []
    assert known.unseen("on the balance beam, balance") == ["balance"]


@given(st.text(max_size=60))
def test_nothing_is_unseen_of_what_was_trained_on(text):
    assert Vocabulary.of([text]).unseen(text) == []


@pytest.mark.parametrize("cleaning", ["tf-covr", "covr", "none"])
@given(text=st.text(alphabet="ab .!2\n\t", max_size=200))
def test_cleaning_is_the_beginning_of_the_unclipped_text(cleaning, text):
    assert unclipped(text, cleaning).startswith(clean(text, cleaning))


def test_a_text_encoder_reads_to_its_limits():
    encoder = TextEncoder(TextConfig(layers=1, dim=8, num_heads=1, ffn_dim=8, max_tokens=8, weights="random"), 4)
    assert not encoder.is_cut("one two three four five six")  # and [CLS] and [SEP]
    assert encoder.is_cut("one two three four five six seven")
    wide = TextEncoder(TextConfig(layers=1, dim=8, num_heads=1, ffn_dim=8, max_tokens=64, weights="random"), 4)
    assert not wide.is_cut("word " * 30)
    assert wide.is_cut("word " * 31)  # the published cleaning keeps thirty


@pytest.mark.parametrize("name", tiny_joint.SIZES)
def test_every_joint_model_says_whether_it_reads_all(name):
    retriever = build_joint(compose(tiny_joint.overrides(name)).model)
    max_tokens, _ = retriever.text_limit
    assert not retriever.is_cut("twice")
    assert retriever.is_cut("antidisestablishmentarianism " * max_tokens)
