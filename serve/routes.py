"""The HTTP side: routes, what they accept, what they answer."""

from __future__ import annotations

import asyncio
import pathlib
import time
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Path, Request
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from covr import __version__
from covr.client.schema import (
    Clip,
    Health,
    NewClip,
    Ready,
    Removed,
    Result,
    SearchAnswer,
    SearchAnswers,
    SearchQueries,
    SearchQuery,
    Timings,
    UploadQuery,
)
from covr.storage import Place
from serve import media, pages, problems, uploads
from serve.access import Access
from serve.guard import BodyGuard
from serve.keys import Keys
from serve.limiter import Rate
from serve.metrics import MEDIA_TYPE
from serve.observe import Observed
from serve.pair import Found, Query
from serve.problems import Problem, documented, request_id
from serve.settings import Settings

if TYPE_CHECKING:
    from serve.gateway import Gateway

ClipId = Annotated[str, Path(max_length=1024, description="Percent-encoded, its slashes too.")]

_SCHEMAS = models_json_schema([(SearchQueries, "validation")], ref_template=problems.REFERENCE)[1]["$defs"]


def _body(kinds: dict[str, Any]) -> dict[str, Any]:
    content = {name: {"schema": schema} for name, schema in kinds.items()}
    return {"requestBody": {"required": True, "content": content}}


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
    api.add_middleware(BodyGuard)
    api.add_middleware(
        Access,
        keys=Keys.read(Place(settings.keys)) if settings.keys else None,
        rate=Rate(settings.rate_per_s, settings.burst) if settings.rate_per_s else None,
        max_in_flight=settings.max_in_flight,
    )
    audit = pathlib.Path(settings.audit) if settings.audit else None
    api.add_middleware(Observed, metrics=gateway.metrics, audit=audit)  # the last added is the outermost
    problems.install(api, _SCHEMAS)

    @api.post(
        "/v1/search",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504),
        openapi_extra=_body(
            {
                "application/json": {"$ref": problems.REFERENCE.format(model="SearchQuery")},
                "multipart/form-data": uploads.json_schema(UploadQuery, problems.REFERENCE),
            }
        ),
    )
    async def search(request: Request) -> SearchAnswer:
        """The clips that are like the query's video but changed as the text says.

        The video is an indexed clip (JSON) or a file that is sent (multipart). A text alone finds what it describes, a
        video alone what looks the same. The query's own clip is left out.
        """
        start, decode_ms = time.perf_counter(), None
        content = _content_type(request)
        if content == "application/json":
            query = _query(await _parsed(request, SearchQuery))
        elif content == "multipart/form-data":
            async with uploads.received(request, UploadQuery) as upload:
                decoding = time.perf_counter()
                query = await gateway.decode(upload)
                decode_ms = 1000 * (time.perf_counter() - decoding)
        else:
            raise Problem(415, "content-type", "Send application/json or multipart/form-data.")
        found = await gateway.search(query)
        gateway.metrics.query(decode_ms, found.encode_ms, found.search_ms, found.batch_size)
        return _answer(request, query, found, start, decode_ms)

    @api.post(
        "/v1/search/batch",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504),
        openapi_extra=_body({"application/json": {"$ref": problems.REFERENCE.format(model="SearchQueries")}}),
    )
    async def search_batch(request: Request) -> SearchAnswers:
        """Several queries at once; one that is refused refuses all, and is named."""
        start = time.perf_counter()
        if _content_type(request) != "application/json":
            raise Problem(415, "content-type", "Send application/json.")
        asked = (await _parsed(request, SearchQueries)).queries
        queries = [_query(query) for query in asked]
        found = await asyncio.gather(*(_numbered(gateway, number, query) for number, query in enumerate(queries)))
        for each in found:
            gateway.metrics.query(None, each.encode_ms, each.search_ms, each.batch_size)
        answers = zip(queries, found, strict=True)
        return SearchAnswers(answers=[_answer(request, query, each, start, None) for query, each in answers])

    @api.get("/v1/clips/{clip_id:path}", responses=documented(401, 403, 404, 422, 429, 503, 504))
    async def clip(request: Request, clip_id: ClipId) -> Clip:
        """An indexed clip."""
        return _clip(await gateway.clip(clip_id), request)

    @api.post(
        "/v1/clips",
        status_code=201,
        responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503, 504, 507),
        openapi_extra=_body({"multipart/form-data": uploads.json_schema(NewClip, problems.REFERENCE)}),
    )
    async def add(request: Request) -> Clip:
        """Index a clip that is sent, or replace the one of its id: on disk, and an answer to every query after this."""
        if _content_type(request) != "multipart/form-data":
            raise Problem(415, "content-type", "Send multipart/form-data.")
        async with uploads.received(request, NewClip) as upload:
            return _clip(await gateway.add(upload), request)

    @api.delete("/v1/clips/{clip_id:path}", responses=documented(401, 403, 404, 409, 422, 429, 503, 504, 507))
    async def remove(clip_id: ClipId) -> Removed:
        """Index a clip no more; its file stays where it is."""
        await gateway.remove(clip_id)
        return Removed(clip_id=clip_id)

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
    async def file(request: Request, clip_id: ClipId) -> Response:
        """The file that a clip is, or is part of, as a browser plays it; whole or by byte range."""
        row = await gateway.clip(clip_id)
        return await asyncio.to_thread(lambda: media.file_response(*gateway.playable(row), request))

    @api.get(
        "/thumbnail/{clip_id:path}",
        response_class=Response,
        responses={
            200: {"description": "The picture.", "content": {"image/jpeg": {}}},
            **documented(401, 403, 404, 422, 429, 503, 504),
        },
    )
    async def thumbnail(clip_id: ClipId) -> Response:
        """A clip's middle frame."""
        jpeg = await gateway.thumbnail(await gateway.clip(clip_id))
        return Response(jpeg, media_type="image/jpeg", headers=_KEEP)

    @api.get("/healthz")
    async def health() -> Health:
        """The process answers; whether queries are answered, /readyz says."""
        return Health()

    @api.get("/readyz", responses=documented(503, 504))
    async def ready() -> Ready:
        """A query of the endpoint's own was answered just now."""
        found = await gateway.prove()
        return Ready(clips=found.clips, retriever=found.retriever, index=found.index)

    @api.post("/v1/admin/reload", responses=documented(401, 403, 409, 429, 504))
    async def reload() -> Ready:
        """Swap retriever and index together to those that index/current.json names now.

        The new pair answers known queries first; where it does not, the old one goes on (409, with the reason).
        """
        found = await gateway.reload()
        return Ready(clips=found.clips, retriever=found.retriever, index=found.index)

    @api.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **documented(401, 403, 503)},
    )
    async def metrics() -> Response:
        """Counters and histograms, for Prometheus."""
        return Response(gateway.metrics.text((await gateway.describe()).clips), media_type=MEDIA_TYPE)

    return api


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def _parsed(request: Request, model: type[_Model]) -> _Model:
    body = await request.body()
    if not body.strip():
        raise Problem(422, "empty-body", "The body is empty.")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise problems.invalid(error) from None


def _query(asked: SearchQuery) -> Query:
    query = Query(text=asked.text, k=asked.k, clip_id=asked.clip_id, filter=asked.filter, exclude=tuple(asked.exclude))
    return pages.at(query, asked.cursor)


async def _numbered(gateway: Gateway, number: int, query: Query) -> Found:
    try:
        return await gateway.search(query)
    except Problem as refusal:
        detail = f"Query {number}: {refusal.detail}"
        raise Problem(refusal.status, refusal.kind, detail, headers=refusal.headers) from None


def _answer(request: Request, query: Query, found: Found, start: float, decode_ms: float | None) -> SearchAnswer:
    ranked = enumerate(zip(found.scores, found.clips, strict=True), 1 + query.offset)
    return SearchAnswer(
        request_id=request_id(request),
        took_ms=round(1000 * (time.perf_counter() - start), 3),
        timings_ms=Timings(decode=decode_ms, encode=found.encode_ms, search=found.search_ms),
        mode=query.mode,
        text_share=found.text_share,
        retriever=found.retriever,
        index=found.index,
        batch_size=found.batch_size,
        results=[Result(rank=rank, score=score, **_shared(clip, request)) for rank, (score, clip) in ranked],
        next=pages.after(query, found.index) if found.more else None,
    )


def _clip(row: dict[str, Any], request: Request) -> Clip:
    fields = {name: row[name] for name in ("kind", "num_frames", "fps", "width", "height")}
    return Clip(**_shared(row, request), **fields, attributes=dict(row["attributes"] or ()))


def _shared(clip: dict[str, Any], request: Request) -> dict[str, Any]:
    """The fields that an answer and a clip have in common."""
    prefix, name = request.scope.get("root_path", ""), quote(clip["clip_id"], safe="")
    return {
        **{field: clip[field] for field in ("clip_id", "label", "start_s", "end_s")},
        "media": f"{prefix}/media/{name}",
        "thumbnail": f"{prefix}/thumbnail/{name}",
    }
