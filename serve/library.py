"""One retriever and its indexed clips behind the routes: decoding what was sent, asking what answers, in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

from covr import tables
from covr.client.schema import NewClip, SearchQuery, UploadQuery, whole_text
from covr.clips.playable import rendition
from covr.datasets.media import SUFFIXES
from covr.storage import Place
from serve import deadline, pages, tracing
from serve.decoding import Decoders
from serve.metrics import Metrics
from serve.problems import Problem
from serve.query import Found, Query
from serve.replies import Described, Kept, Late, NotChanged, NoText, OtherIndex, UnknownClip, Unready
from serve.thumbnails import Thumbnails
from serve.topology import Answering
from serve.uploads import Upload

_RELOAD_S = 600.0  # a large index is read and checked whole


class Library:
    """Every method raises `Problem` on refusal.

    Args:
        root: the storage root.
        timeout_s: for one request.
    """

    def __init__(
        self, root: Place, answering: Answering, decoders: Decoders, metrics: Metrics, timeout_s: float
    ) -> None:
        self._root, self._answering, self._decoders, self._metrics = root, answering, decoders, metrics
        self._timeout_s = timeout_s
        self._thumbnails = Thumbnails(decoders)

    async def search(self, query: Query) -> Found:
        """The answers to a query."""
        left_s = deadline.current().left(self._timeout_s)
        with self._metrics.waiting(), tracing.stage("search"):
            asked = replace(query, timeout_s=left_s, trace=tracing.carried())
            return await self._said(self._answering.search(asked))

    async def decode(self, path: Path, sha256: str, asked: UploadQuery | SearchQuery) -> Query:
        """The query that a clip's file and what came with it make."""
        query = Query(text=whole_text(asked), k=asked.k, filter=asked.filter, exclude=tuple(asked.exclude))
        query = pages.at(replace(query, sha256=sha256), asked.cursor)
        found = await self.describe()  # a hop is little beside a decode
        sampling = found.sampling["composed" if asked.text is not None else "video"]
        async with deadline.current().within(self._timeout_s):
            with tracing.stage("decode"):
                sent = await self._decoders.sent(path, sampling, found.decoder)
        return replace(query, frames_TCHW=sent.frames, retriever=found.retriever)

    async def add(self, upload: Upload[NewClip]) -> dict[str, Any]:
        """Index a clip that was sent; its file is kept below the storage root. Its row."""
        found = await self.describe()
        async with deadline.current().within(self._timeout_s):
            with tracing.stage("decode"):
                sent = {
                    mode: await self._decoders.sent(upload.path, sampling, found.decoder)
                    for mode, sampling in found.sampling.items()
                }
        name, given, facts = f"media/added/{upload.sha256}{upload.suffix}", upload.fields, sent["video"]
        (clip,) = tables.from_rows(
            "clips",
            [
                {
                    "clip_id": given.clip_id,
                    "uri": name,
                    "kind": SUFFIXES.get(upload.suffix, "video"),
                    "label": given.label,
                    "attributes": list(given.attributes.items()),
                    "sha256": upload.sha256,
                    "num_frames": facts.num_frames,
                    "fps": facts.fps,
                    "width": facts.width,
                    "height": facts.height,
                }
            ],
        ).to_pylist()
        try:
            await asyncio.to_thread(lambda: (self._root / name).write_bytes(upload.path.read_bytes()))
        except OSError:
            raise Problem(507, "storage-full", "Not changed: the file could not be written.") from None
        frames = {mode: each.frames for mode, each in sent.items()}
        await self._said(self._answering.add(clip, frames, found.retriever))
        self._thumbnails.forget(given.clip_id)
        return clip

    async def remove(self, clip_id: str) -> None:
        """Index a clip no more; its file stays."""
        await self._said(self._answering.remove(clip_id))
        self._thumbnails.forget(clip_id)

    async def clip(self, clip_id: str) -> dict[str, Any]:
        """The row of an indexed clip."""
        return await self._said(self._answering.clip(clip_id))

    def file(self, clip: dict[str, Any]) -> Place:
        """Where a clip's file is."""
        return self._root.resolve(clip["uri"])

    def playable(self, clip: dict[str, Any]) -> tuple[Place, str]:
        """What of a clip's file is played in a browser, its rendition if it has one, and an ETag for it."""
        made = rendition(self._root, clip["sha256"])
        return (made, f"{clip['sha256']}-h264") if made.exists() else (self.file(clip), clip["sha256"])

    async def thumbnail(self, clip: dict[str, Any]) -> bytes:
        """A clip's middle frame, as a JPEG."""
        async with deadline.current().within(self._timeout_s):
            return await self._thumbnails.of(clip, self.file(clip))

    async def describe(self) -> Described:
        """What answers."""
        return await self._said(self._answering.describe())

    async def prove(self) -> Described:
        """What answers, once it has answered a true query."""
        return await self._said(self._answering.prove())

    async def reload(self) -> Described:
        """Swap to the pair that the alias names now."""
        return await self._said(self._answering.reload(), _RELOAD_S)

    async def _said(self, answer: Awaitable[Any], timeout_s: float | None = None) -> Any:
        """What the replicas say; their refusals as problems."""
        async with deadline.current().within(timeout_s or self._timeout_s):
            value = await answer
        match value:
            case Unready(reason=reason):
                raise Problem(503, "not-ready", f"Not ready: {reason}.", headers={"Retry-After": "10"})
            case UnknownClip():
                raise Problem(404, "unknown-clip", "No clip of this id is indexed.")
            case NoText():
                raise Problem(422, "no-text", "What is served here reads no text: give a video.")
            case NotChanged(reason=reason, full=full):
                status, kind = (507, "storage-full") if full else (409, "not-changed")
                raise Problem(status, kind, f"Not changed: {reason}.")
            case Kept(reason=reason):
                raise Problem(409, "not-swapped", f"Not swapped, the old pair goes on: {reason}.")
            case OtherIndex():
                raise Problem(409, "stale-cursor", "The index has changed since the page before: ask from the start.")
            case Late():
                raise Problem(504, "timeout", "The query waited for longer than its caller does.")
        return value
