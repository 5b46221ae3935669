"""A retriever as the service uses it: queries to vectors, clips to what the index keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch

from covr.client.schema import Mode
from covr.clips import Sampling, version
from covr.clips.decode import Decoder
from covr.errors import UserError
from covr.evaluate.confidence import Confidence
from covr.index.view import Entry
from covr.models.joint import JointRetriever
from covr.models.retriever import ComposedRetriever
from covr.models.sides import Encoder, Feature
from covr.models.text.words import Vocabulary
from serve.query import Encoded, Query, Stored

Vectors = tuple[np.ndarray, list[float | None]]
"""Query vectors (B, D), float32, and the text's share in each."""


class QueryEncoder:
    """One retriever, in evaluation mode, on the GPU where there is one.

    Attributes:
        fingerprint, target_fingerprint: the retriever's.
        sampling: which frames of a query clip it reads, by the query's mode.
        reads_text: whether a text alone makes a query.
        decoder: what must decode them.

    Args:
        decoder: version of the decoder behind the index (`covr.clips.version`).
        descriptions: by clip id, for a retriever whose `needs` name one.
        vocabulary: the words that it was trained on; None: not known.
        confidence: of its composed queries; None: not measured.

    Raises:
        UserError: that decoder is not installed here.
    """

    def __init__(
        self,
        retriever: ComposedRetriever | JointRetriever,
        decoder: str,
        descriptions: Mapping[str, str] | None = None,
        vocabulary: Vocabulary | None = None,
        confidence: Confidence | None = None,
    ) -> None:
        self._descriptions, self._vocabulary = descriptions, vocabulary
        self._confident_from = None
        if confidence is not None:
            self._confident_from = math.inf if confidence.score is None else confidence.score
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._retriever = retriever.eval().to(self._device)
        if isinstance(retriever, ComposedRetriever) and retriever.text is not None:
            retriever.text.padding = (
                "longest"  # the same vectors; padded as published, a short text costs as a long one
            )
        self.fingerprint, self.target_fingerprint = retriever.fingerprint, retriever.target_fingerprint
        self._encoder = retriever.query_encoder
        target = retriever.target_encoder.sampling
        self.sampling: dict[Mode, Sampling] = {
            "composed": self._encoder.sampling if self._encoder else target,
            "video": target,  # it is compared as a target itself
        }
        self.reads_text = retriever.needs.query_text
        self.decoder = _installed(decoder)

    @torch.inference_mode()
    def encode(self, queries: Sequence[Query], stored: Sequence[Stored | None]) -> list[Encoded]:
        """Several queries in one pass.

        Args:
            stored: what the index keeps of each query's clip; None where the query has none.
        """
        encoded: list[Encoded | None] = [None] * len(queries)
        for mode, encode in (("composed", self._composed), ("text", self._texts), ("video", self._videos)):
            rows = [row for row, query in enumerate(queries) if query.mode == mode]
            if rows:
                vectors_BD, shares = encode([queries[row] for row in rows], [stored[row] for row in rows])
                for row, vector_D, share in zip(rows, vectors_BD, shares, strict=True):
                    text = queries[row].text
                    encoded[row] = Encoded(
                        vector_D=vector_D,
                        text_share=share,
                        truncated=text is not None and self._retriever.is_cut(text),
                        unseen=None if text is None or self._vocabulary is None else self._vocabulary.unseen(text),
                        confident_from=self._confident_from if mode == "composed" else None,
                        expand=self._retriever.expand if mode == "composed" else None,
                    )
        return [each for each in encoded if each is not None]

    @torch.inference_mode()
    def targets(self, features_BF: np.ndarray) -> np.ndarray | None:
        """Target vectors (B, D) of what the query side reads; None where the two sides do not read the same."""
        if isinstance(self._retriever, ComposedRetriever) and self._retriever.fusion.needs_video:
            return _array(self._retriever.embed_target(torch.from_numpy(features_BF).to(self._device)))
        return None

    @torch.inference_mode()
    def entry(self, clip: dict[str, Any], frames: Mapping[Mode, np.ndarray]) -> Entry:
        """A clip as the index keeps it.

        Args:
            clip: its row of the clips table.
            frames: as `sampling` says, uint8 RGB (T, 3, H, W).

        Raises:
            UserError: the retriever reads a description of each clip, or the clip's vector cannot be ranked.
        """
        if self._descriptions is not None:
            raise UserError("this retriever reads a description of each clip", "index", "add it by jobs/ingest.py")
        needs, target = self._retriever.needs, self._retriever.target_encoder
        feature = np.zeros(1, np.float32)
        if self._encoder is not None and needs.query_feature is not None:
            feature = self._read(self._encoder, frames["composed"], needs.query_feature)
        read = torch.from_numpy(self._read(target, frames["video"], needs.target_feature))[None].to(self._device)
        vector_D = _array(self._retriever.embed_target(read))[0]
        if not np.isfinite(vector_D).all() or not vector_D.any():
            raise UserError("the clip's vector is zero or not finite", clip["clip_id"], "check the clip")
        return Entry(clip=clip, vector_D=vector_D, feature=feature)

    def _composed(self, queries: Sequence[Query], stored: Sequence[Stored | None]) -> Vectors:
        """Video and text through the fusion."""
        features_BF = torch.from_numpy(self._features(queries, stored)).to(self._device)
        texts = [query.text or "" for query in queries]
        described: dict[str, list[str]] = {}
        if self._descriptions is not None:
            described["descriptions"] = [
                query.description if query.clip_id is None else self._descriptions[query.clip_id] for query in queries
            ]
        shares_B = None
        if isinstance(self._retriever, ComposedRetriever):
            vectors_BD, shares_B = self._retriever.embed_query_with_share(features_BF, texts)
        else:
            vectors_BD = self._retriever.embed_query(features_BF, texts, **described)
        return _array(vectors_BD), [None] * len(queries) if shares_B is None else shares_B.tolist()

    def _texts(self, queries: Sequence[Query], stored: Sequence[Stored | None]) -> Vectors:
        """Texts alone, as if they were captions of what is looked for."""
        return _array(self._retriever.text_target([query.text or "" for query in queries])), [None] * len(queries)

    def _videos(self, queries: Sequence[Query], stored: Sequence[Stored | None]) -> Vectors:
        """Videos alone, as targets: what is nearest looks the same."""
        vectors = []
        target, feature = self._retriever.target_encoder, self._retriever.needs.target_feature
        for query, kept in zip(queries, stored, strict=True):
            if kept is not None:
                vectors.append(kept.vector_D)
                continue
            assert query.frames_TCHW is not None
            read = torch.from_numpy(self._read(target, query.frames_TCHW, feature))[None].to(self._device)
            vectors.append(_array(self._retriever.embed_target(read))[0])
        return np.stack(vectors), [None] * len(queries)

    def _features(self, queries: Sequence[Query], stored: Sequence[Stored | None]) -> np.ndarray:
        """What the query side reads (B, ...): of indexed clips as stored, of frames by the encoder."""
        if self._encoder is None or (feature := self._retriever.needs.query_feature) is None:
            return np.zeros((len(queries), 1), np.float32)
        read: dict[int, np.ndarray] = {row: kept.feature for row, kept in enumerate(stored) if kept is not None}
        sent = [row for row in range(len(queries)) if row not in read]
        if sent:
            resized = [
                self._encoder.resize(torch.tensor(queries[row].frames_TCHW)[None]) for row in sent
            ]  # sizes differ
            features_BF = _array(self._encoder.features(torch.cat(resized).to(self._device))[feature])
            read |= dict(zip(sent, features_BF, strict=True))
        return np.stack([read[row] for row in range(len(queries))])

    def _read(self, encoder: Encoder, frames_TCHW: np.ndarray, feature: Feature) -> np.ndarray:
        frames_BTCHW = encoder.resize(torch.tensor(frames_TCHW)[None]).to(self._device)
        return _array(encoder.features(frames_BTCHW)[feature])[0]


def _array(vectors: torch.Tensor) -> np.ndarray:
    return vectors.float().cpu().numpy()


def _installed(made_with: str) -> Decoder:
    """The decoder of this very version: pixels differ between decoders, and so would their vectors."""
    for decoder in get_args(Decoder):
        if version(decoder) == made_with:
            return decoder
    here = ", ".join(version(decoder) for decoder in get_args(Decoder))
    raise UserError(
        f"the indexed clips were decoded with {made_with}, here are {here}",
        "index",
        "install that version, or run jobs/embed.py and jobs/index.py again",
    )
