"""The HTTP side: routes, what they accept, what they answer."""

from __future__ import annotations

import asyncio
import pathlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

from fastapi import FastAPI, Path, Request
from fastapi import Query as InUrl
from pydantic import BaseModel
from starlette.responses import Response

from covr import __version__
from covr.client.schema import (
    Clip,
    Health,
    NewClip,
    Ready,
    Removed,
    SearchAnswer,
    SearchAnswers,
    SearchQueries,
    SearchQuery,
    Serving,
    UploadQuery,
)
from covr.storage import Place
from covr.storage.place import fingerprint
from serve import idempotency, media, problems, remote, spec, uploads
from serve.access import CALLER, Access
from serve.answers import answer, clip_answer, serving
from serve.asked import content_type, parsed, query_of
from serve.deadline import Deadlines
from serve.guard import BodyGuard
from serve.idempotency import Replays
from serve.keys import Keys
from serve.limiter import Rate
from serve.metrics import MEDIA_TYPE
from serve.observe import Observed
from serve.problems import Problem, documented
from serve.query import Found
from serve.settings import Settings

if TYPE_CHECKING:
    from serve.gateway import Gateway

Named = Annotated[str | None, InUrl(max_length=64, description="One of the endpoint's retrievers; none: the first.")]
ClipId = Annotated[str, Path(max_length=1024, description="Percent-encoded, its slashes too.")]
_Model = TypeVar("_Model", bound=BaseModel)
_KEEP = {"Cache-Control": "private, max-age=3600"}


def build(gateway: Gateway, settings: Settings) -> FastAPI:
    """The ASGI application over a gateway.

    Raises:
        UserError: the file of keys is not as it must be.
    """
    api = FastAPI(
        title="covr",
        version=__version__,
        description="Composed video retrieval: a query video and a sentence that says what should be different.",
    )
    api.add_middleware(Deadlines)
    api.add_middleware(BodyGuard)
    api.add_middleware(
        Access,
        keys=Keys.read(Place(settings.keys)) if settings.keys else None,
        rate=Rate(settings.rate_per_s, settings.burst) if settings.rate_per_s else None,
        max_in_flight=settings.max_in_flight,
    )
    audit = pathlib.Path(settings.audit) if settings.audit else None
    api.add_middleware(Observed, metrics=gateway.metrics, audit=audit)  # the last added is the outermost
    problems.install(api, spec.SCHEMAS)
    replays = Replays()

    async def _once(request: Request, asked: tuple[object, ...], work: Callable[[], Awaitable[_Model]]) -> _Model:
        key = request.headers.get(idempotency.HEADER)
        return await replays.once(request.scope[CALLER], key, fingerprint(*asked), work)

    @api.post(
        "/v1/search",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504),
        openapi_extra=spec.body(
            {"application/json": spec.of(SearchQuery), "multipart/form-data": spec.sent(UploadQuery)}, spec.TIMEOUT
        ),
    )
    async def search(request: Request) -> SearchAnswer:
        """The clips that are like the query's video but changed as the text says.

        The video is an indexed clip (JSON) or a file that is sent (multipart). A text alone finds what it describes, a
        video alone what looks the same. The query's own clip is left out.
        """
        start, decode_ms = time.perf_counter(), None
        content = content_type(request)
        if content == "application/json":
            asked = await parsed(request, SearchQuery)
            name = asked.retriever
            if asked.video_url is None:
                query = query_of(asked)
            else:
                async with remote.fetched(asked.video_url, settings.url_hosts) as file:
                    decoding = time.perf_counter()
                    query = await gateway.library(name).decode(file.path, file.sha256, asked)
                    decode_ms = 1000 * (time.perf_counter() - decoding)
        elif content == "multipart/form-data":
            async with uploads.received(request, UploadQuery) as upload:
                decoding = time.perf_counter()
                name = upload.fields.retriever
                query = await gateway.library(name).decode(upload.path, upload.sha256, upload.fields)
                decode_ms = 1000 * (time.perf_counter() - decoding)
        else:
            raise Problem(415, "content-type", "Send application/json or multipart/form-data.")
        found = await gateway.library(name).search(query)
        gateway.metrics.query(decode_ms, found)
        return answer(request, query, found, start, decode_ms, name)

    @api.post(
        "/v1/search/batch",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504),
        openapi_extra=spec.body({"application/json": spec.of(SearchQueries)}, spec.TIMEOUT),
    )
    async def search_batch(request: Request) -> SearchAnswers:
        """Several queries at once; one that is refused refuses all, and is named."""
        start = time.perf_counter()
        if content_type(request) != "application/json":
            raise Problem(415, "content-type", "Send application/json.")
        asked = (await parsed(request, SearchQueries)).queries
        queries = [query_of(query) for query in asked]
        found = await asyncio.gather(*(_numbered(gateway, number, query) for number, query in enumerate(asked)))
        for each in found:
            gateway.metrics.query(None, each)
        return SearchAnswers(
            answers=[
                answer(request, query, each, start, None, of.retriever)
                for query, each, of in zip(queries, found, asked, strict=True)
            ]
        )

    @api.get("/v1/clips/{clip_id:path}", responses=documented(401, 403, 404, 422, 429, 503, 504))
    async def clip(request: Request, clip_id: ClipId, retriever: Named = None) -> Clip:
        """An indexed clip."""
        return clip_answer(await gateway.library(retriever).clip(clip_id), request, retriever)

    @api.post(
        "/v1/clips",
        status_code=201,
        responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503, 504, 507),
        openapi_extra=spec.body({"multipart/form-data": spec.sent(NewClip)}, spec.TIMEOUT, spec.KEY),
    )
    async def add(request: Request) -> Clip:
        """Index a clip that is sent, or replace the one of its id: on disk, and an answer to every query after this."""
        if content_type(request) != "multipart/form-data":
            raise Problem(415, "content-type", "Send multipart/form-data.")
        async with uploads.received(request, NewClip) as upload:
            given = upload.fields
            library = gateway.library(given.retriever)

            async def add() -> Clip:
                return clip_answer(await library.add(upload), request, given.retriever)

            return await _once(request, ("add", upload.sha256, given.model_dump()), add)

    @api.delete(
        "/v1/clips/{clip_id:path}",
        responses=documented(400, 401, 403, 404, 409, 422, 429, 503, 504, 507),
        openapi_extra={"parameters": [spec.KEY]},
    )
    async def remove(request: Request, clip_id: ClipId, retriever: Named = None) -> Removed:
        """Index a clip no more; its file stays where it is."""
        library = gateway.library(retriever)

        async def remove() -> Removed:
            await library.remove(clip_id)
            return Removed(clip_id=clip_id)

        return await _once(request, ("remove", clip_id, retriever), remove)

    @api.api_route(
        "/media/{clip_id:path}",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses={
            200: {"description": "The file.", "content": {"video/*": {}, "image/*": {}}},
            206: {"description": "The part of the file that a Range header asks for."},
            **documented(401, 403, 404, 416, 422, 429, 503, 504),
        },
    )
    async def file(request: Request, clip_id: ClipId, retriever: Named = None) -> Response:
        """The file that a clip is, or is part of, as a browser plays it; whole or by byte range."""
        library = gateway.library(retriever)
        row = await library.clip(clip_id)
        return await asyncio.to_thread(lambda: media.file_response(*library.playable(row), request))

    @api.get(
        "/thumbnail/{clip_id:path}",
        response_class=Response,
        responses={
            200: {"description": "The picture.", "content": {"image/jpeg": {}}},
            **documented(401, 403, 404, 422, 429, 503, 504),
        },
    )
    async def thumbnail(clip_id: ClipId, retriever: Named = None) -> Response:
        """A clip's middle frame."""
        library = gateway.library(retriever)
        jpeg = await library.thumbnail(await library.clip(clip_id))
        return Response(jpeg, media_type="image/jpeg", headers=_KEEP)

    @api.get("/healthz")
    async def health() -> Health:
        """The process answers; whether queries are answered, /readyz says."""
        return Health()

    @api.get("/readyz", responses=documented(503, 504))
    async def ready() -> Ready:
        """A query of the endpoint's own was answered just now, by each retriever."""
        proved = await asyncio.gather(*(library.prove() for library in gateway.libraries.values()))
        first, *others = (serving(found) for found in proved)
        names = list(gateway.libraries)[1:]
        return Ready(**first.model_dump(), others=dict(zip(names, others, strict=True)))

    @api.post("/v1/admin/reload", responses=documented(401, 403, 409, 422, 429, 504))
    async def reload(retriever: Named = None) -> Serving:
        """Swap retriever and index together to those that index/current.json names now.

        The new pair answers known queries first; where it does not, the old one goes on (409, with the reason).
        """
        return serving(await gateway.library(retriever).reload())

    @api.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **documented(401, 403, 503)},
    )
    async def metrics() -> Response:
        """Counters and histograms, for Prometheus."""
        described = {name: await library.describe() for name, library in gateway.libraries.items()}
        return Response(gateway.metrics.text(described), media_type=MEDIA_TYPE)

    return api


async def _numbered(gateway: Gateway, number: int, asked: SearchQuery) -> Found:
    try:
        return await gateway.library(asked.retriever).search(query_of(asked))
    except Problem as refusal:
        detail = f"Query {number}: {refusal.detail}"
        raise Problem(refusal.status, refusal.kind, detail, refusal.errors, refusal.headers) from None
