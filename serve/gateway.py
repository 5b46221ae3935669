"""What stands behind the routes: decoding what was sent, asking `Retrieval`, in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve.handle import DeploymentHandle

from covr import tables
from covr.client.schema import NewClip, UploadQuery
from covr.clips.playable import rendition
from covr.datasets.media import SUFFIXES
from covr.storage import Place
from serve import pages, routes
from serve.decoding import Decoders
from serve.metrics import Metrics
from serve.pair import Found, Query
from serve.problems import Problem
from serve.retrieval import Described, Kept, NotChanged, NoText, OtherIndex, UnknownClip, Unready
from serve.settings import Settings
from serve.thumbnails import Thumbnails
from serve.uploads import Upload

_RELOAD_S = 600.0  # a large index is read and checked whole


@ray_serve.deployment
@ray_serve.ingress()
class Gateway:
    """The ingress: one process for HTTP, decode processes beside it. Every method raises `Problem` on refusal."""

    def __init__(self, settings: Settings, retrieval: DeploymentHandle) -> None:
        self._settings, self._retrieval = settings, retrieval
        self._root = Place(settings.root)
        self._decoders = Decoders(settings.decoders)
        self._thumbnails = Thumbnails(self._decoders)
        self.metrics = Metrics()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Built in the replica: an application made beside the class would travel pickled, cut off from its module."""
        return routes.build(self, self._settings)

    async def search(self, query: Query) -> Found:
        """The answers to a query."""
        return await self._ask(self._retrieval.search.remote(query))

    async def decode(self, upload: Upload[UploadQuery]) -> Query:
        """The query that a sent clip and what came with it make."""
        asked = upload.fields
        query = Query(text=asked.text, k=asked.k, filter=asked.filter, exclude=tuple(asked.exclude))
        query = pages.at(replace(query, sha256=upload.sha256), asked.cursor)
        found = await self.describe()  # a hop is little beside a decode
        sampling = found.sampling["composed" if asked.text is not None else "video"]
        async with self._deadline():
            sent = await self._decoders.sent(upload.path, sampling, found.decoder)
        return replace(query, frames_TCHW=sent.frames, retriever=found.retriever)

    async def add(self, upload: Upload[NewClip]) -> dict[str, Any]:
        """Index a clip that was sent; its file is kept below the storage root. Its row."""
        found = await self.describe()
        async with self._deadline():
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
        await self._ask(self._retrieval.add.remote(clip, frames, found.retriever))
        self._thumbnails.forget(given.clip_id)
        return clip

    async def remove(self, clip_id: str) -> None:
        """Index a clip no more; its file stays."""
        await self._ask(self._retrieval.remove.remote(clip_id))
        self._thumbnails.forget(clip_id)

    async def clip(self, clip_id: str) -> dict[str, Any]:
        """The row of an indexed clip."""
        return await self._ask(self._retrieval.clip.remote(clip_id))

    def file(self, clip: dict[str, Any]) -> Place:
        """Where a clip's file is."""
        return self._root.resolve(clip["uri"])

    def playable(self, clip: dict[str, Any]) -> tuple[Place, str]:
        """What of a clip's file is played in a browser, its rendition if it has one, and an ETag for it."""
        made = rendition(self._root, clip["sha256"])
        return (made, f"{clip['sha256']}-h264") if made.exists() else (self.file(clip), clip["sha256"])

    async def thumbnail(self, clip: dict[str, Any]) -> bytes:
        """A clip's middle frame, as a JPEG."""
        async with self._deadline():
            return await self._thumbnails.of(clip, self.file(clip))

    async def describe(self) -> Described:
        """What answers."""
        return await self._ask(self._retrieval.describe.remote())

    async def prove(self) -> Described:
        """What answers, once it has answered a true query."""
        return await self._ask(self._retrieval.prove.remote())

    async def reload(self) -> Described:
        """Swap to the pair that the alias names now."""
        return await self._ask(self._retrieval.reload.remote(), _RELOAD_S)

    async def _ask(self, response: Awaitable[Any], timeout_s: float | None = None) -> Any:
        """What the replica says; its refusals as problems."""
        async with self._deadline(timeout_s):
            value = await response
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
        return value

    @asynccontextmanager
    async def _deadline(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        allowed_s = timeout_s or self._settings.timeout_s
        try:
            async with asyncio.timeout(allowed_s):
                yield
        except TimeoutError:
            raise Problem(504, "timeout", f"No answer within {allowed_s:g} s.") from None
