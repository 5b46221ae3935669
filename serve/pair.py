"""A retriever and the index of its target side, loaded together and answering together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np
import torch

from covr.clips import Sampling, version
from covr.clips.decode import Decoder
from covr.embed.read import texts_about
from covr.errors import UserError
from covr.index.current import Current
from covr.index.snapshot import Snapshot
from covr.models.joint import JointRetriever
from covr.models.retriever import ComposedRetriever
from covr.storage import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A composed query: an indexed clip or decoded frames, and a text."""

    text: str
    k: int
    clip_id: str | None = None
    frames_TCHW: np.ndarray | None = None
    """uint8 RGB, sampled as the pair's `sampling` says."""
    description: str = ""
    """Of the clip that was sent, for a model that reads one; of an indexed clip, the texts table has it."""
    sha256: str | None = None
    """Of the file that the frames are from; an indexed clip that is this very file is not an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Answers to one query, best first: scores and the rows of the clips table."""

    scores: list[float]
    clips: list[dict[str, Any]]
    retriever: str
    index: str
    batch_size: int
    """Queries that were answered in the same pass."""


class Pair:
    """What one replica answers with.

    Attributes:
        retriever, index: fingerprints.
        sampling: which frames of a query clip the retriever reads.
        decoder: what must decode them.

    Args:
        descriptions: by clip id, for a retriever whose `needs` name one.

    Raises:
        UserError: the indexed clips were decoded with what is not installed here.
    """

    def __init__(
        self,
        retriever: ComposedRetriever | JointRetriever,
        snapshot: Snapshot,
        descriptions: Mapping[str, str] | None = None,
    ) -> None:
        self._descriptions = descriptions
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._retriever, self._snapshot = retriever.eval().to(self._device), snapshot
        self.retriever, self.index = retriever.fingerprint, snapshot.fingerprint
        self._encoder = retriever.query_encoder
        self.sampling: Sampling = (self._encoder or retriever.target_encoder).sampling
        self.decoder = _installed(snapshot.manifest.decoder)
        self._by_file: dict[str, list[str]] = {}
        for clip in snapshot.clips.select(["clip_id", "sha256", "start_s", "end_s"]).to_pylist():
            if clip["sha256"] and clip["start_s"] is None and clip["end_s"] is None:
                self._by_file.setdefault(clip["sha256"], []).append(clip["clip_id"])

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
        return cls(retriever, snapshot, descriptions)

    def __len__(self) -> int:
        return len(self._snapshot)

    def clip(self, clip_id: str) -> dict[str, Any] | None:
        """The row of an indexed clip."""
        return self._snapshot.describe([clip_id])[0] if clip_id in self._snapshot else None

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._snapshot

    def canary(self) -> Query:
        """A query that a sound pair answers."""
        return Query(text="the same again", k=1, clip_id=self._snapshot.clip_ids[0])

    @torch.inference_mode()
    def answer(self, queries: Sequence[Query]) -> list[Found]:
        """Answer several queries in one pass of the encoders and one of the index."""
        features_BF = torch.from_numpy(self._features(queries)).to(self._device)
        described: dict[str, list[str]] = {}
        if self._descriptions is not None:
            described["descriptions"] = [
                query.description if query.clip_id is None else self._descriptions[query.clip_id] for query in queries
            ]
        queries_BD = self._retriever.embed_query(features_BF, [query.text for query in queries], **described)
        ranked = self._snapshot.search(
            queries_BD.float().cpu().numpy(),
            max(query.k for query in queries),
            exclude=[self._own(query) for query in queries],
        )
        return [
            Found(
                scores=answer.scores[: query.k].tolist(),
                clips=self._snapshot.describe(answer.clip_ids[: query.k]),
                retriever=self.retriever,
                index=self.index,
                batch_size=len(queries),
            )
            for query, answer in zip(queries, ranked, strict=True)
        ]

    def _own(self, query: Query) -> list[str]:
        own = self._by_file.get(query.sha256, []) if query.sha256 else []
        return [*own, query.clip_id] if query.clip_id else own

    def _features(self, queries: Sequence[Query]) -> np.ndarray:
        """What the query side reads (B, ...): of indexed clips as stored, of frames by the encoder."""
        features_BF = np.empty((len(queries), *self._snapshot.features_NF.shape[1:]), np.float32)
        sent = [row for row, query in enumerate(queries) if query.frames_TCHW is not None]
        for row, query in enumerate(queries):
            if query.clip_id is not None:
                features_BF[row] = self._snapshot.features_NF[self._snapshot.row(query.clip_id)]
        encoder, feature = self._encoder, self._retriever.needs.query_feature
        if sent and encoder is not None and feature is not None:
            resized = [encoder.resize(torch.tensor(queries[row].frames_TCHW)[None]) for row in sent]  # sizes differ
            frames_BTCHW = torch.cat(resized).to(self._device)
            features_BF[sent] = encoder.features(frames_BTCHW)[feature].float().cpu().numpy()
        return features_BF


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
