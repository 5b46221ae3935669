"""Text cleaning against pairs of the published implementations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covr.models.text.cleaning import MAX_WORDS, clean

PAIRS = {
    "tf-covr": {
        "Show with 2.5 somersaults and 2 twists.": "show with two and a half somersaults and two twists.",
        "show on Balance Beam with 0.5 turn in side position": "show on balance beam with half turn in side position",
        "(Vault) round-off, flic-flac with 0.5 turn on": "vault round-off, flic-flac with half turn on",
        "3.5 Soms.Tuck 10 times!  now": "three and a half soms.tuck 10 times now",
        "1 1.0 7 7.5 8 0 00.5 2.50": "one one seven 7.5 8 0 half two and a half",
        "with 1/2 turn; 2x": "with one/two turn 2x",
        "Word " * 40: " ".join(["word"] * 30),
        "a.b.c 0.5.5 -1.5 1,5": "a.b.c half.five -one and a half one,five",
        "\nShow: 'no' twist~\n": "\nshow 'no' twist",
    },
    "covr": {
        "Show with 2.5 somersaults and 2 twists.": "show with 2 5 somersaults and 2 twists",
        "(Vault) round-off, flic-flac with 0.5 turn on": "vault round-off, flic-flac with 0 5 turn on",
        "3.5 Soms.Tuck 10 times!  now": "3 5 soms tuck 10 times now",
        "1 1.0 7 7.5 8 0 00.5 2.50": "1 1 0 7 7 5 8 0 00 5 2 50",
        "with 1/2 turn; 2x": "with 1/2 turn 2x",
        "a.b.c 0.5.5 -1.5 1,5": "a b c 0 5 5 -1 5 1,5",
        "\nShow: 'no' twist~\n": "\nshow 'no' twist",
    },
    "none": {"Show  (2.5)!": "Show  (2.5)!"},
}


@pytest.mark.parametrize(("cleaning", "text"), [(c, text) for c, pairs in PAIRS.items() for text in pairs])
def test_as_published(cleaning, text):
    assert clean(text, cleaning) == PAIRS[cleaning][text]


@given(text=st.text(max_size=400), cleaning=st.sampled_from(["tf-covr", "covr"]))
def test_any_text_becomes_few_lower_case_words(text, cleaning):
    cleaned = clean(text, cleaning)
    assert len(cleaned.split(" ")) <= MAX_WORDS
    assert cleaned == cleaned.lower() or len(cleaned.lower()) != len(cleaned)
    assert not set(cleaned) & set('!"()*#:;~')
