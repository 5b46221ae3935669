"""Reading embedded clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from covr.embed.features import Features
from covr.embed.refused import refused
from covr.errors import UserError
from covr.storage import Place, TableStore

if TYPE_CHECKING:  # importing covr.models takes seconds, and no worker that decodes needs it
    from covr.models.joint import JointRetriever
    from covr.models.retriever import ComposedRetriever
    from covr.models.video import VideoEncoder


def pooled(root: Place, encoder: VideoEncoder | str, clip_ids: Sequence[str]) -> np.ndarray:
    """The raw pooled vectors of clips under an encoder (or its fingerprint), float32 (N, D), in the order asked for.

    Raises:
        UserError: vectors are missing; how many, and where.
    """
    fingerprint = encoder if isinstance(encoder, str) else encoder.fingerprint()
    return Features(root, fingerprint).read(clip_ids)


class SideFeatures:
    """What the features tables keep for the two sides of a retriever.

    Attributes:
        query_encoder, target_encoder: fingerprints; the query's is None where that side reads no picture.
    """

    def __init__(self, root: Place, retriever: ComposedRetriever | JointRetriever) -> None:
        self.root, self.needs = root, retriever.needs
        query, target = retriever.query_encoder, retriever.target_encoder
        self.target_encoder = target.fingerprint()
        self.query_encoder = None if query is None else query.fingerprint()

    @property
    def encoders(self) -> tuple[str, ...]:
        """The distinct fingerprints."""
        return tuple(dict.fromkeys(name for name in (self.target_encoder, self.query_encoder) if name is not None))

    def query(self, clip_ids: Sequence[str]) -> np.ndarray:
        """What the query side reads of clips, float32 (N, ...); zeros (N, 1) where it reads no picture.

        Raises:
            UserError: features are missing; how many, and where.
        """
        if self.query_encoder is None or self.needs.query_feature is None:
            return np.zeros((len(clip_ids), 1), np.float32)
        return Features(self.root, self.query_encoder).read(clip_ids, self.needs.query_feature)

    def target(self, clip_ids: Sequence[str]) -> np.ndarray:
        """What the target side reads of clips, float32 (N, ...).

        Raises:
            UserError: features are missing; how many, and where.
        """
        return Features(self.root, self.target_encoder).read(clip_ids, self.needs.target_feature)

    def descriptions(self, clip_ids: Sequence[str]) -> list[str] | None:
        """The texts about query clips that the query side reads as well; None where it reads none.

        Raises:
            UserError: a clip without one.
        """
        kind = self.needs.query_description
        if kind is None:
            return None
        if self.needs.described_by == "nearest":
            assert self.query_encoder is not None
            clip_ids = nearest(self.root, self.query_encoder, clip_ids)
        return texts_about(self.root, clip_ids, kind)


def nearest(root: Place, encoder: str, clip_ids: Sequence[str]) -> list[str]:
    """Of each clip the training clip, from another recording, whose centred pooled vector has the largest cosine.

    Raises:
        UserError: vectors are missing, or there is no training clip.
    """
    clips = TableStore(root / "tables/clips", "clips").require(["clip_id", "split", "source_video"], made_by="ingest")
    source = dict(zip(clips["clip_id"].to_pylist(), clips["source_video"].to_pylist(), strict=True))
    lacking = refused(root, encoder)
    of_train = clips.filter(pc.equal(clips["split"], "train"))["clip_id"].to_pylist()
    train = [clip for clip in of_train if clip not in lacking]
    if not train:
        raise UserError("there is no training clip to describe others by", str(root / "tables"), "give a train split")
    train_ND, clips_CD = pooled(root, encoder, train), pooled(root, encoder, clip_ids)
    mean_D = train_ND.mean(0)
    train_ND, clips_CD = (v - mean_D for v in (train_ND, clips_CD))
    train_ND /= np.linalg.norm(train_ND, axis=1, keepdims=True)
    sources = np.array([source[clip] or clip for clip in train])
    found: list[str] = []
    for clip, clip_D in zip(clip_ids, clips_CD, strict=True):
        cosine_N = np.where(sources == (source[clip] or clip), -np.inf, train_ND @ clip_D)
        found.append(train[int(cosine_N.argmax())])
    return found


def texts_about(root: Place, owners: Sequence[str], kind: str, instead: str = "") -> list[str]:
    """The first text of a kind about each clip or query, in the order asked for.

    Args:
        instead: what else can be done where one has none.

    Raises:
        UserError: there are no texts, or one has none; how many and which.
    """
    wanted = set(owners)
    texts = TableStore(root / "tables/texts", "texts").require(
        ["owner_id", "text"], filters=[("kind", "=", kind)], made_by="ingest"
    )
    found: dict[str, str] = {}
    for owner, text in zip(texts["owner_id"].to_pylist(), texts["text"].to_pylist(), strict=True):
        if owner in wanted:
            found.setdefault(owner, text)
    if missing := sorted(wanted - found.keys()):
        raise UserError(
            f"{len(missing)} of {len(wanted)} clips have no {kind}",
            f"tables/texts: clip {missing[0]}",
            f"give each a text of kind {kind}" + (f", {instead}" if instead else ""),
        )
    return [found[owner] for owner in owners]
