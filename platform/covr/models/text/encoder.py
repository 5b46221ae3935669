"""A text encoder of the BERT layout: a sentence to one unit vector.

Shapes: B texts, U distinct texts, L tokens, H the transformer's width, D the vector's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from covr.errors import UserError
from covr.limits import LIMITS
from covr.models.text.cleaning import Cleaning, clean
from covr.models.text.tokenizer import VOCABULARY_SIZE, is_cut, wordpiece


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """Options of `TextEncoder`; the defaults are BERT-base as TF-CoVR uses it."""

    layers: int = 12
    """Transformer layers."""
    dim: int = 768
    """H, the transformer's width."""
    num_heads: int = 12
    """Attention heads."""
    ffn_dim: int = 3072
    """Width of the feed-forward layers."""
    dropout: float = 0.1
    """Of embeddings, attention and layers."""
    vocab_size: int = VOCABULARY_SIZE
    """Rows of the word table: 30,522, and one for each token that BLIP ([DEC], [ENC]) or BLIP-2 ([DEC]) add."""
    max_positions: int = 512
    """Rows of the position table."""
    max_tokens: int = 32
    """Longest text read, in tokens with [CLS] and [SEP]; the rest is cut off."""
    padding: Literal["longest", "max_length"] = "longest"
    """Pad to the longest text of the batch, or always to `max_tokens` (published; the same numbers, more work)."""
    pooling: Literal["cls", "mean"] = "cls"
    """The state of [CLS], or the mean of all tokens' states."""
    cleaning: Cleaning = "tf-covr"
    """What is done to a text before the tokenizer."""
    train_layers: int | None = None
    """Layers from the top that are trained; None: all, and the embeddings."""
    freeze_words: bool = False
    """Leave the word table as it is (published: weight tying froze it)."""
    weights: str | None = None
    """What to start from: `random`, `minilm` (the packaged sentence encoder), a checkpoint file, a folder or a hub
    id. None: it has to be given."""

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of num_heads {self.num_heads}")
        if self.train_layers is not None and not 0 <= self.train_layers <= self.layers:
            raise ValueError(f"train_layers {self.train_layers} is not between 0 and layers {self.layers}")
        if self.max_tokens > self.max_positions:
            raise ValueError(f"max_tokens {self.max_tokens} is above max_positions {self.max_positions}")


class TextEncoder(nn.Module):
    """Texts to unit vectors (B, D): BERT without token types and pooler, [CLS] or mean, linear layer, L2.

    Equal texts of a batch are encoded once. Frozen layers stay in evaluation mode; what they compute of the texts
    given to `remember` is kept.

    Attributes:
        padding: the configuration's; who only encodes may set `longest`.

    Args:
        config: the architecture; weights are random until they are loaded.
        dim: D.
    """

    def __init__(self, config: TextConfig, dim: int) -> None:
        from transformers import BertConfig, BertModel  # seconds, which whoever reads no text is spared

        super().__init__()
        self.config = config
        self.padding: Literal["longest", "max_length"] = config.padding
        layout = BertConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.num_heads,
            intermediate_size=config.ffn_dim,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.dropout,
            max_position_embeddings=config.max_positions,
        )
        self.bert = BertModel(layout, add_pooling_layer=False)
        self.bert.embeddings.token_type_embeddings = _NoTokenTypes()  # type: ignore[assignment]
        self.projection = nn.Linear(config.dim, dim)
        self._remembered: dict[str, Tensor] = {}
        self._freeze()

    def forward(self, texts: Sequence[str] | Mapping[str, Tensor]) -> Tensor:
        """Unit vectors (B, D).

        Args:
            texts: strings, or `input_ids` and `attention_mask`, both (B, L).

        Raises:
            UserError: a text over the limit.
        """
        if isinstance(texts, Mapping):
            return self._vectors(self._lower(texts), texts["attention_mask"])
        if isinstance(texts, str):
            raise UserError("one string in place of a list of texts", texts[:40], "give [text]")
        cleaned = [self._clean(text) for text in texts]
        distinct = list(dict.fromkeys(cleaned))
        if all(text in self._remembered for text in distinct):
            states_ULH, mask_UL = self._recall(distinct)
        else:
            tokens = self.tokenize(distinct)
            states_ULH, mask_UL = self._lower(tokens), tokens["attention_mask"]
        row_of = {text: row for row, text in enumerate(distinct)}
        rows_B = torch.tensor([row_of[text] for text in cleaned], device=mask_UL.device)
        return self._vectors(states_ULH, mask_UL)[rows_B]

    def tokenize(self, cleaned: list[str]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` (B, L) of texts that are clean already, on the encoder's device."""
        tokens = wordpiece()(
            cleaned,
            padding=self.padding,
            truncation=True,
            max_length=self.config.max_tokens,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return {name: value.to(self.projection.weight.device) for name, value in tokens.items()}

    def is_cut(self, text: str) -> bool:
        """Whether the end of a text is not read."""
        return is_cut(text, self.config.cleaning, wordpiece(), self.config.max_tokens)

    @torch.no_grad()
    def remember(self, texts: Sequence[str]) -> None:
        """Compute once what the frozen layers give for these texts; of no effect where all layers are trained.

        The work depends on the set of texts alone, not on their order, so that a resumed run sees the same numbers.
        """
        if self.config.train_layers is None:
            return
        self._remembered = {}
        distinct = sorted({self._clean(text) for text in texts}, key=lambda text: (len(text), text))
        for start in range(0, len(distinct), 64):
            chunk = distinct[start : start + 64]
            tokens = self.tokenize(chunk)
            for text, states_LH, mask_L in zip(chunk, self._lower(tokens), tokens["attention_mask"], strict=True):
                read_LH = states_LH[mask_L.bool()]
                if self.config.train_layers == 0:  # nothing looks at single tokens any more
                    read_LH = read_LH[:1] if self.config.pooling == "cls" else read_LH.mean(dim=0, keepdim=True)
                self._remembered[text] = read_LH.clone()

    @property
    def remembered(self) -> dict[str, Tensor]:
        """What the frozen layers gave, by clean text: (tokens, H), or (1, H) where all layers are frozen."""
        return self._remembered

    @remembered.setter
    def remembered(self, known: dict[str, Tensor]) -> None:
        self._remembered = known

    def train(self, mode: bool = True) -> TextEncoder:
        super().train(mode)
        if self.config.train_layers is not None:  # no dropout where nothing learns
            self.bert.embeddings.eval()
            self.bert.encoder.layer[: self._num_frozen].eval()
        return self

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self._remembered = {}
        super()._load_from_state_dict(*args, **kwargs)

    @property
    def _num_frozen(self) -> int:
        return 0 if self.config.train_layers is None else self.config.layers - self.config.train_layers

    def _freeze(self) -> None:
        if self.config.train_layers is not None:
            self.bert.embeddings.requires_grad_(False)
            self.bert.encoder.layer[: self._num_frozen].requires_grad_(False)
        if self.config.freeze_words:
            self.bert.embeddings.word_embeddings.requires_grad_(False)

    def _clean(self, text: str) -> str:
        if len(text) > LIMITS.max_text_chars:
            raise UserError(f"a text of {len(text)} characters", text[:40], f"give at most {LIMITS.max_text_chars}")
        return clean(text, self.config.cleaning)

    def _lower(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """States (B, L, H) after the embeddings and the frozen layers."""
        states_BLH = self.bert.embeddings(input_ids=tokens["input_ids"])
        mask = _attend(tokens["attention_mask"])
        for layer in self.bert.encoder.layer[: self._num_frozen]:
            states_BLH = layer(states_BLH, mask)
        return states_BLH

    def _recall(self, distinct: list[str]) -> tuple[Tensor, Tensor]:
        device = self.projection.weight.device
        states = [self._remembered[text].to(device) for text in distinct]
        mask_UL = nn.utils.rnn.pad_sequence([state.new_ones(len(state)) for state in states], batch_first=True)
        return nn.utils.rnn.pad_sequence(states, batch_first=True), mask_UL

    def _vectors(self, states_BLH: Tensor, mask_BL: Tensor) -> Tensor:
        """The trained layers, pooling, projection and L2: (B, D)."""
        mask = _attend(mask_BL)
        for layer in self.bert.encoder.layer[self._num_frozen :]:
            states_BLH = layer(states_BLH, mask)
        if self.config.pooling == "cls":
            pooled_BH = states_BLH[:, 0]
        else:
            weight_BL1 = mask_BL[:, :, None].to(states_BLH.dtype)
            pooled_BH = (states_BLH * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1)
        return nn.functional.normalize(self.projection(pooled_BH), dim=-1)


class _NoTokenTypes(nn.Module):
    """BLIP's layout has no table of token types: add nothing."""

    def forward(self, token_type_ids: Tensor) -> Tensor:
        return torch.zeros((), device=token_type_ids.device)


def _attend(mask_BL: Tensor) -> Tensor:
    """Attention mask (B, 1, 1, L), True where a token may be looked at."""
    return mask_BL[:, None, None, :].bool()
