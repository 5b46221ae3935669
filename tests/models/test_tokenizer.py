"""The packaged tokenizers give the ids that released weights were trained with."""

from __future__ import annotations

from covr.models.text.tokenizer import BYTE_PAIRS_SIZE, VOCABULARY_SIZE, byte_pairs, wordpiece


def test_clip_byte_pairs():
    tokenizer = byte_pairs()
    assert len(tokenizer) == BYTE_PAIRS_SIZE
    assert tokenizer(["hello world", "a diagram"])["input_ids"] == [
        [49406, 3306, 1002, 49407],
        [49406, 320, 22697, 49407],
    ]
    assert tokenizer(" A  Photo of a CAT")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    long = tokenizer("turn " * 200, truncation=True, max_length=77)["input_ids"]
    assert (len(long), long[-1]) == (77, 49407)


def test_wordpiece():
    assert len(wordpiece()) == VOCABULARY_SIZE
    assert wordpiece()("Hello world!")["input_ids"] == [101, 7592, 2088, 999, 102]
