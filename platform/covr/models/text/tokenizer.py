"""The two tokenizers of the published systems, over vocabularies shipped with the package: nothing is fetched."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from tokenizers.pre_tokenizers import ByteLevel

from covr.models.text.cleaning import Cleaning, clean, unclipped

if TYPE_CHECKING:
    from transformers import BertTokenizer, CLIPTokenizer, PreTrainedTokenizerBase

VOCABULARY_SIZE = 30522
"""Of `wordpiece`."""
BYTE_PAIRS_SIZE = 49408
"""Of `byte_pairs`, the start and the end of a text included."""


@cache
def wordpiece() -> BertTokenizer:
    """WordPiece over the vocabulary of bert-base-uncased; shared, and never changed."""
    from transformers import BertTokenizer  # seconds, which whoever reads no text is spared

    lines = files("covr.models.text").joinpath("bert-base-uncased-vocab.txt").read_text("utf-8").splitlines()
    # `vocab=`, not `vocab_file=`: this release of transformers takes the latter in silence and knows no word then
    return BertTokenizer(vocab={token: index for index, token in enumerate(lines)})


@cache
def byte_pairs() -> CLIPTokenizer:
    """CLIP's byte pairs; shared, and never changed.

    Ids: the 256 bytes in the order in which GPT-2 prints them, the same at the end of a word, then one a merge.
    """
    from transformers import CLIPTokenizer  # as above

    packed = files("covr.models.text").joinpath("clip-byte-pairs.txt.gz").read_bytes()
    printed = sorted(ByteLevel.alphabet(), key=lambda letter: (ord(letter) > 255, ord(letter)))
    lines = gzip.decompress(packed).decode("utf-8").splitlines()[1 : BYTE_PAIRS_SIZE - 2 - 2 * len(printed) + 1]
    merges = [tuple(line.split()) for line in lines]
    tokens = [*printed, *(f"{letter}</w>" for letter in printed), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges)  # type: ignore[arg-type]  # pairs, as its backend takes them


def is_cut(text: str, cleaning: Cleaning, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> bool:
    """Whether a model that reads `max_tokens` of a cleaned text does not read all of this one."""
    whole = unclipped(text, cleaning)
    return clean(text, cleaning) != whole or len(tokenizer(whole)["input_ids"]) > max_tokens
