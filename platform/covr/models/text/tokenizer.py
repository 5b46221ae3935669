"""WordPiece over the bert-base-uncased vocabulary, shipped with the package: nothing is fetched."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from transformers import BertTokenizer

VOCABULARY_SIZE = 30522


@cache
def wordpiece() -> BertTokenizer:
    """The tokenizer; shared, and never changed."""
    lines = files("covr.models.text").joinpath("bert-base-uncased-vocab.txt").read_text("utf-8").splitlines()
    # `vocab=`, not `vocab_file=`: this release of transformers takes the latter in silence and knows no word then
    return BertTokenizer(vocab={token: index for index, token in enumerate(lines)})
