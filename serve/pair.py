"""A retriever and the index of its target side, loaded together and answering together."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from covr.embed.read import SideFeatures
from covr.errors import UserError
from covr.evaluate.confidence import Confidence
from covr.index.current import Current
from covr.index.live import view_of
from covr.index.snapshot import Snapshot
from covr.index.view import View
from covr.models.retriever import ComposedRetriever
from covr.models.text.words import Vocabulary
from covr.storage import Place
from covr.tracking.download import local_place
from serve.encoder import QueryEncoder
from serve.query import Encoded, Found, Generation, Query, Stored
from serve.ranking import asked_again, confident, rank

Named = tuple[str, str]
"""What tells a pair from others: its snapshot's fingerprint, and the folder that its retriever's name leads to."""

_CANARY_TOLERANCE = 1e-2  # of a unit vector's values: other hardware and precision pass, another clip's vector does not


class Pair:
    """What one replica answers with.

    Attributes:
        encoder: the retriever.
        view: what is searched.
        name: where the retriever was loaded from, as `index/current.json` has it.
    """

    def __init__(self, encoder: QueryEncoder, view: View, name: str, folder: Place) -> None:
        self.encoder, self.view, self.name = encoder, view, name
        self._folder = folder

    @classmethod
    def load(cls, root: Place, current: Current | None = None) -> Self:
        """The pair that `index/current.json` names, or another one.

        Raises:
            UserError: nothing is indexed, a part is missing or damaged, or the two do not belong together.
        """
        current = current or Current.read(root)
        folder = local_place(current.retriever_uri(root))
        retriever = ComposedRetriever.load(folder)
        snapshot = Snapshot.load(current.snapshot_place(root), target_fingerprint=retriever.target_fingerprint)
        described = SideFeatures(root, retriever).descriptions(snapshot.clip_ids)
        descriptions = None if described is None else dict(zip(snapshot.clip_ids, described, strict=True))
        encoder = QueryEncoder(
            retriever,
            snapshot.manifest.decoder,
            descriptions,
            Vocabulary.read(folder),
            Confidence.read(root, retriever.fingerprint),
        )
        return cls(encoder, view_of(root / "index", snapshot), current.retriever, folder)

    def over(self, view: View) -> Self:
        """The same retriever over a changed index."""
        pair = copy.copy(self)
        pair.view = view
        return pair

    @property
    def named(self) -> Named:
        """What `named` says where `index/current.json` names this pair."""
        return self.view.snapshot.fingerprint, str(self._folder)

    @property
    def retriever(self) -> str:
        """The retriever's fingerprint."""
        return self.encoder.fingerprint

    @property
    def index(self) -> str:
        """The index's fingerprint."""
        return self.view.fingerprint

    @property
    def generation(self) -> Generation:
        """What other replicas have to load to answer as this pair does."""
        return Generation(
            snapshot=self.view.snapshot.fingerprint,
            retriever=self.name,
            fingerprint=self.encoder.fingerprint,
            target_fingerprint=self.encoder.target_fingerprint,
        )

    def __len__(self) -> int:
        return len(self.view)

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self.view

    def clip(self, clip_id: str) -> dict[str, Any] | None:
        """The row of an indexed clip."""
        return self.view.describe([clip_id])[0] if clip_id in self.view else None

    def canary(self) -> Query:
        """A query that a sound pair answers."""
        return canary(self.view.clip_ids[0])

    def check(self) -> None:
        """Answer known queries, which also pays for what the first query would.

        Clips from the beginning, middle and end: the retriever gives their features the vectors that are indexed, where
        both sides read the same feature, and a composed query by each has finite scores.

        Raises:
            UserError: one of them fails.
        """
        rows = sorted({0, len(self) // 2, len(self) - 1})
        clips = [self.view.clip_ids[row] for row in rows]
        found = self.answer([canary(clip_id) for clip_id in clips])
        sound = all(np.isfinite(answer.scores).all() for answer in found)
        vectors_BD = self.encoder.targets(np.stack([self.view.feature(clip_id) for clip_id in clips]))
        if vectors_BD is not None:
            indexed_BD = [self.view.vector(clip_id) for clip_id in clips]
            sound = sound and np.allclose(vectors_BD, indexed_BD, atol=_CANARY_TOLERANCE)
        if not sound:
            raise UserError("a canary query failed on the retriever and its index", "index", "run jobs/index.py again")

    def encode(self, queries: Sequence[Query]) -> list[Encoded]:
        """Several queries in one pass of the encoders; their clips are indexed here."""
        return self.encoder.encode(queries, [stored(self.view, query.clip_id) for query in queries])

    def answer(self, queries: Sequence[Query], queued_ms: Sequence[float] | None = None) -> list[Found]:
        """Answer several queries in one pass of the encoders and one of the index.

        Args:
            queued_ms: what each waited before; None: nothing.
        """
        start = time.perf_counter()
        encoded = self.encode(queries)
        done = time.perf_counter()
        ranked = rank(self.view, asked_again(self.view, encoded, queries), queries)
        searched = time.perf_counter()
        pages = [slice(query.offset, query.offset + query.k) for query in queries]
        return [
            Found(
                scores=answer.scores[page].tolist(),
                clips=self.view.describe(answer.clip_ids[page]),
                more=len(answer.clip_ids) > page.stop,
                encoded=of,
                confident=confident(of, answer),
                queue_ms=queued,
                encode_ms=1000 * (done - start),
                search_ms=1000 * (searched - done),
                retriever=self.retriever,
                index=self.index,
                batch_size=len(queries),
            )
            for answer, page, of, queued in zip(ranked, pages, encoded, queued_ms or [0.0] * len(queries), strict=True)
        ]


def named(root: Place) -> Named:
    """The pair that `index/current.json` names now. A name of the model registry is looked up there: its alias moves.

    Raises:
        UserError: nothing is indexed, the file is damaged, or the registry does not answer.
    """
    current = Current.read(root)
    return current.snapshot, str(local_place(current.retriever_uri(root)))


def canary(clip_id: str) -> Query:
    """A query by an indexed clip that a sound pair answers."""
    return Query(text="the same again", k=1, clip_id=clip_id)


def stored(view: View, clip_id: str | None) -> Stored | None:
    """What the index keeps of a query's clip; KeyError where it is not indexed."""
    return None if clip_id is None else Stored(feature=view.feature(clip_id), vector_D=view.vector(clip_id))
