"""A retriever and the index of its target side, loaded together and answering together."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np
import torch

from covr.client.filters import Node
from covr.client.schema import Mode
from covr.clips import Sampling, version
from covr.clips.decode import Decoder
from covr.embed.read import texts_about
from covr.errors import UserError
from covr.index.current import Current
from covr.index.live import view_of
from covr.index.snapshot import Snapshot
from covr.index.view import Entry, View
from covr.models.joint import JointRetriever
from covr.models.retriever import ComposedRetriever
from covr.models.sides import Encoder, Feature
from covr.storage import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """An indexed clip or decoded frames, a text, or both."""

    text: str | None = None
    k: int
    offset: int = 0
    """Answers that are passed over: those of the pages before."""
    filter: Node | None = None
    exclude: tuple[str, ...] = ()
    index: str | None = None
    """The start of the fingerprint of the index that the pages before are from."""
    clip_id: str | None = None
    frames_TCHW: np.ndarray | None = None
    """uint8 RGB, sampled as the pair's `sampling` says for the query's mode."""
    retriever: str | None = None
    """Fingerprint of the retriever that the frames were sampled for."""
    description: str = ""
    """Of the clip that was sent, for a model that reads one; of an indexed clip, the texts table has it."""
    sha256: str | None = None
    """Of the file that the frames are from; an indexed clip that is this very file is not an answer."""

    @property
    def mode(self) -> Mode:
        """What the query is made of."""
        if self.clip_id is None and self.frames_TCHW is None:
            return "text"
        return "video" if self.text is None else "composed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Answers to one query, best first: scores and the rows of the clips table."""

    scores: list[float]
    clips: list[dict[str, Any]]
    more: bool
    """There are answers behind these."""
    text_share: float | None
    """The fusion's weight of the text against the video; None where it has none."""
    encode_ms: float
    search_ms: float
    retriever: str
    index: str
    batch_size: int
    """Queries that were answered in the same pass."""


_CANARY_TOLERANCE = 1e-2  # of a unit vector's values: other hardware and precision pass, another clip's vector does not

Encoded = tuple[np.ndarray, list[float | None]]
"""Query vectors (B, D), float32, and the text's share in each."""


class Pair:
    """What one replica answers with.

    Attributes:
        retriever, index: fingerprints.
        sampling: which frames of a query clip the retriever reads, by the query's mode.
        reads_text: whether a text alone makes a query.
        decoder: what must decode them.

    Args:
        descriptions: by clip id, for a retriever whose `needs` name one.

    Raises:
        UserError: the indexed clips were decoded with what is not installed here.
    """

    def __init__(
        self,
        retriever: ComposedRetriever | JointRetriever,
        index: View,
        descriptions: Mapping[str, str] | None = None,
    ) -> None:
        self._descriptions = descriptions
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._retriever, self._index = retriever.eval().to(self._device), index
        self.retriever, self.index = retriever.fingerprint, index.fingerprint
        self._encoder = retriever.query_encoder
        target = retriever.target_encoder.sampling
        self.sampling: dict[Mode, Sampling] = {
            "composed": self._encoder.sampling if self._encoder else target,
            "video": target,  # it is compared as a target itself
        }
        self.reads_text = retriever.needs.query_text
        self.decoder = _installed(index.manifest.decoder)

    @classmethod
    def load(cls, root: Place) -> Self:
        """The pair that `index/current.json` names.

        Raises:
            UserError: nothing is indexed, a part is missing or damaged, or the two do not belong together.
        """
        current = Current.read(root)
        retriever = ComposedRetriever.load(current.retriever_uri(root))
        snapshot = Snapshot.load(current.snapshot_place(root), target_fingerprint=retriever.target_fingerprint)
        kind = retriever.needs.query_description
        descriptions = kind and dict(zip(snapshot.clip_ids, texts_about(root, snapshot.clip_ids, kind), strict=True))
        return cls(retriever, view_of(root / "index", snapshot), descriptions)

    def over(self, index: View) -> Self:
        """The same retriever over a changed index."""
        pair = copy.copy(self)
        pair._index, pair.index = index, index.fingerprint
        return pair

    @property
    def view(self) -> View:
        """What is searched."""
        return self._index

    def __len__(self) -> int:
        return len(self._index)

    def clip(self, clip_id: str) -> dict[str, Any] | None:
        """The row of an indexed clip."""
        return self._index.describe([clip_id])[0] if clip_id in self._index else None

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._index

    def canary(self) -> Query:
        """A query that a sound pair answers."""
        return Query(text="the same again", k=1, clip_id=self._index.clip_ids[0])

    @torch.inference_mode()
    def check(self) -> None:
        """Answer known queries, which also pays for what the first query would.

        Clips from the beginning, middle and end: the retriever gives their features the vectors that are indexed, where
        both sides read the same feature, and a composed query by each has finite scores.

        Raises:
            UserError: one of them fails.
        """
        rows = sorted({0, len(self) // 2, len(self) - 1})
        clips = [self._index.clip_ids[row] for row in rows]
        found = self.answer([Query(text="the same again", k=1, clip_id=clip_id) for clip_id in clips])
        sound = all(np.isfinite(answer.scores).all() for answer in found)
        if isinstance(self._retriever, ComposedRetriever) and self._retriever.fusion.needs_video:
            features_BF = torch.from_numpy(np.stack([self._index.feature(clip_id) for clip_id in clips])).to(
                self._device
            )
            vectors_BD = _array(self._retriever.embed_target(features_BF))
            sound = sound and np.allclose(
                vectors_BD, [self._index.vector(clip_id) for clip_id in clips], atol=_CANARY_TOLERANCE
            )
        if not sound:
            raise UserError("a canary query failed on the retriever and its index", "index", "run jobs/index.py again")

    @torch.inference_mode()
    def answer(self, queries: Sequence[Query]) -> list[Found]:
        """Answer several queries in one pass of the encoders and one of the index."""
        start = time.perf_counter()
        vectors_QD = np.empty((len(queries), self._index.manifest.dim), np.float32)
        shares: list[float | None] = [None] * len(queries)
        for mode, encode in (("composed", self._composed), ("text", self._texts), ("video", self._videos)):
            rows = [row for row, query in enumerate(queries) if query.mode == mode]
            if rows:
                vectors_QD[rows], found = encode([queries[row] for row in rows])
                for row, share in zip(rows, found, strict=True):
                    shares[row] = share
        encoded = time.perf_counter()
        ranked = self._index.search(
            vectors_QD,
            max(query.offset + query.k for query in queries) + 1,
            exclude=[self._own(query) for query in queries],
            filters=[query.filter for query in queries],
        )
        searched = time.perf_counter()
        pages = [slice(query.offset, query.offset + query.k) for query in queries]
        return [
            Found(
                scores=answer.scores[page].tolist(),
                clips=self._index.describe(answer.clip_ids[page]),
                more=len(answer.clip_ids) > page.stop,
                text_share=share,
                encode_ms=1000 * (encoded - start),
                search_ms=1000 * (searched - encoded),
                retriever=self.retriever,
                index=self.index,
                batch_size=len(queries),
            )
            for answer, page, share in zip(ranked, pages, shares, strict=True)
        ]

    def _composed(self, queries: Sequence[Query]) -> Encoded:
        """Video and text through the fusion."""
        features_BF = torch.from_numpy(self._features(queries)).to(self._device)
        texts = [query.text or "" for query in queries]
        described: dict[str, list[str]] = {}
        if self._descriptions is not None:
            described["descriptions"] = [
                query.description if query.clip_id is None else self._descriptions[query.clip_id] for query in queries
            ]
        vectors_BD = self._retriever.embed_query(features_BF, texts, **described)
        shares_B = None
        if isinstance(self._retriever, ComposedRetriever):
            shares_B = self._retriever.text_share(features_BF, texts)
        return _array(vectors_BD), [None] * len(queries) if shares_B is None else shares_B.tolist()

    def _texts(self, queries: Sequence[Query]) -> Encoded:
        """Texts alone, as if they were captions of what is looked for."""
        return _array(self._retriever.text_target([query.text or "" for query in queries])), [None] * len(queries)

    def _videos(self, queries: Sequence[Query]) -> Encoded:
        """Videos alone, as targets: what is nearest looks the same."""
        vectors_BD = np.empty((len(queries), self._index.manifest.dim), np.float32)
        encoder, feature = self._retriever.target_encoder, self._retriever.needs.target_feature
        for row, query in enumerate(queries):
            if query.clip_id is not None:
                vectors_BD[row] = self._index.vector(query.clip_id)
                continue
            frames_BTCHW = encoder.resize(torch.tensor(query.frames_TCHW)[None]).to(self._device)
            features_BF = encoder.features(frames_BTCHW)[feature].float()
            vectors_BD[row] = _array(self._retriever.embed_target(features_BF))[0]
        return vectors_BD, [None] * len(queries)

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

    def _read(self, encoder: Encoder, frames_TCHW: np.ndarray, feature: Feature) -> np.ndarray:
        frames_BTCHW = encoder.resize(torch.tensor(frames_TCHW)[None]).to(self._device)
        return _array(encoder.features(frames_BTCHW)[feature])[0]

    def _own(self, query: Query) -> list[str]:
        own = self._index.copies(query.sha256) if query.sha256 else []
        return [*own, *query.exclude, *([query.clip_id] if query.clip_id else [])]

    def _features(self, queries: Sequence[Query]) -> np.ndarray:
        """What the query side reads (B, ...): of indexed clips as stored, of frames by the encoder."""
        features_BF = np.empty((len(queries), *self._index.snapshot.features_NF.shape[1:]), np.float32)
        sent = [row for row, query in enumerate(queries) if query.frames_TCHW is not None]
        for row, query in enumerate(queries):
            if query.clip_id is not None:
                features_BF[row] = self._index.feature(query.clip_id)
        encoder, feature = self._encoder, self._retriever.needs.query_feature
        if sent and encoder is not None and feature is not None:
            resized = [encoder.resize(torch.tensor(queries[row].frames_TCHW)[None]) for row in sent]  # sizes differ
            frames_BTCHW = torch.cat(resized).to(self._device)
            features_BF[sent] = encoder.features(frames_BTCHW)[feature].float().cpu().numpy()
        return features_BF


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
