"""The HTTP side: routes, what they accept, what they answer."""

from __future__ import annotations

import asyncio
import json
import pathlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Path, Request
from fastapi import Query as InUrl
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
    Serving,
    Timings,
    UploadQuery,
    whole_text,
)
from covr.storage import Place
from covr.storage.place import fingerprint
from serve import idempotency, media, pages, problems, remote, uploads
from serve.access import CALLER, Access
from serve.deadline import Deadlines
from serve.guard import BodyGuard
from serve.idempotency import Replays
from serve.keys import Keys
from serve.limiter import Rate
from serve.metrics import MEDIA_TYPE
from serve.observe import Observed
from serve.problems import Problem, documented, request_id
from serve.query import Found, Query
from serve.replies import Described
from serve.settings import Settings

if TYPE_CHECKING:
    from serve.gateway import Gateway

Named = Annotated[str | None, InUrl(max_length=64, description="One of the endpoint's retrievers; none: the first.")]
ClipId = Annotated[str, Path(max_length=1024, description="Percent-encoded, its slashes too.")]

_SCHEMAS = models_json_schema([(SearchQueries, "validation")], ref_template=problems.REFERENCE)[1]["$defs"]


def _body(kinds: dict[str, Any], *headers: dict[str, Any]) -> dict[str, Any]:
    content = {name: {"schema": schema} for name, schema in kinds.items()}
    return {"requestBody": {"required": True, "content": content}, "parameters": list(headers)}


def _header(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": schema, "description": description}


_TIMEOUT = _header(
    "X-Request-Timeout",
    {"type": "number", "exclusiveMinimum": 0},
    "Seconds that the caller waits; what takes longer is ended, and answered 504.",
)
_KEY = _header(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "The same request under the same key is done once, and answered alike.",
)


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
    problems.install(api, _SCHEMAS)
    replays = Replays()

    async def _once(request: Request, asked: tuple[object, ...], work: Callable[[], Awaitable[_Model]]) -> _Model:
        key = request.headers.get(idempotency.HEADER)
        return await replays.once(request.scope[CALLER], key, fingerprint(*asked), work)

    @api.post(
        "/v1/search",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504),
        openapi_extra=_body(
            {
                "application/json": {"$ref": problems.REFERENCE.format(model="SearchQuery")},
                "multipart/form-data": uploads.json_schema(UploadQuery, problems.REFERENCE),
            },
            _TIMEOUT,
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
            asked = await _parsed(request, SearchQuery)
            name = asked.retriever
            if asked.video_url is None:
                query = _query(asked)
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
        return _answer(request, query, found, start, decode_ms, name)

    @api.post(
        "/v1/search/batch",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504),
        openapi_extra=_body({"application/json": {"$ref": problems.REFERENCE.format(model="SearchQueries")}}, _TIMEOUT),
    )
    async def search_batch(request: Request) -> SearchAnswers:
        """Several queries at once; one that is refused refuses all, and is named."""
        start = time.perf_counter()
        if _content_type(request) != "application/json":
            raise Problem(415, "content-type", "Send application/json.")
        asked = (await _parsed(request, SearchQueries)).queries
        queries = [_query(query) for query in asked]
        found = await asyncio.gather(*(_numbered(gateway, number, query) for number, query in enumerate(asked)))
        for each in found:
            gateway.metrics.query(None, each)
        return SearchAnswers(
            answers=[
                _answer(request, query, each, start, None, of.retriever)
                for query, each, of in zip(queries, found, asked, strict=True)
            ]
        )

    @api.get("/v1/clips/{clip_id:path}", responses=documented(401, 403, 404, 422, 429, 503, 504))
    async def clip(request: Request, clip_id: ClipId, retriever: Named = None) -> Clip:
        """An indexed clip."""
        return _clip(await gateway.library(retriever).clip(clip_id), request, retriever)

    @api.post(
        "/v1/clips",
        status_code=201,
        responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503, 504, 507),
        openapi_extra=_body({"multipart/form-data": uploads.json_schema(NewClip, problems.REFERENCE)}, _TIMEOUT, _KEY),
    )
    async def add(request: Request) -> Clip:
        """Index a clip that is sent, or replace the one of its id: on disk, and an answer to every query after this."""
        if _content_type(request) != "multipart/form-data":
            raise Problem(415, "content-type", "Send multipart/form-data.")
        async with uploads.received(request, NewClip) as upload:
            given = upload.fields
            library = gateway.library(given.retriever)

            async def add() -> Clip:
                return _clip(await library.add(upload), request, given.retriever)

            return await _once(request, ("add", upload.sha256, given.model_dump()), add)

    @api.delete(
        "/v1/clips/{clip_id:path}",
        responses=documented(400, 401, 403, 404, 409, 422, 429, 503, 504, 507),
        openapi_extra={"parameters": [_KEY]},
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
        first, *others = (_serving(found) for found in proved)
        names = list(gateway.libraries)[1:]
        return Ready(**first.model_dump(), others=dict(zip(names, others, strict=True)))

    @api.post("/v1/admin/reload", responses=documented(401, 403, 409, 422, 429, 504))
    async def reload(retriever: Named = None) -> Serving:
        """Swap retriever and index together to those that index/current.json names now.

        The new pair answers known queries first; where it does not, the old one goes on (409, with the reason).
        """
        return _serving(await gateway.library(retriever).reload())

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


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def _parsed(request: Request, model: type[_Model]) -> _Model:
    body = await request.body()
    if not body.strip():
        raise Problem(422, "empty-body", "The body is empty.")
    try:
        parsed = model.model_validate_json(body)
    except ValidationError as error:
        raise problems.invalid(error) from None
    json.loads(body, object_pairs_hook=_each_once)
    return parsed


def _each_once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """What two values of one field mean is not for us to guess."""
    found = dict(fields)
    if len(found) < len(fields):
        names = [name for name, _ in fields]
        raise problems.field(next(name for name in names if names.count(name) > 1), "given more than once")
    return found


def _query(asked: SearchQuery) -> Query:
    if asked.video_url is not None:
        raise Problem(422, "one-at-a-time", "A video by URL is a query of its own: POST /v1/search.")
    query = Query(
        text=whole_text(asked),
        k=asked.k,
        clip_id=asked.clip_id,
        filter=asked.filter,
        exclude=tuple(asked.exclude),
    )
    return pages.at(query, asked.cursor)


def _serving(found: Described) -> Serving:
    return Serving(clips=found.clips, retriever=found.retriever, index=found.index, refused=found.refused)


async def _numbered(gateway: Gateway, number: int, asked: SearchQuery) -> Found:
    try:
        return await gateway.library(asked.retriever).search(_query(asked))
    except Problem as refusal:
        detail = f"Query {number}: {refusal.detail}"
        raise Problem(refusal.status, refusal.kind, detail, refusal.errors, refusal.headers) from None


def _answer(
    request: Request, query: Query, found: Found, start: float, decode_ms: float | None, name: str | None
) -> SearchAnswer:
    ranked = enumerate(zip(found.scores, found.clips, strict=True), 1 + query.offset)
    return SearchAnswer(
        request_id=request_id(request),
        took_ms=round(1000 * (time.perf_counter() - start), 3),
        timings_ms=Timings(decode=decode_ms, queue=found.queue_ms, encode=found.encode_ms, search=found.search_ms),
        mode=query.mode,
        text_share=found.encoded.text_share,
        text=query.text,
        truncated=found.encoded.truncated,
        unseen=found.encoded.unseen,
        confident=found.confident,
        retriever=found.retriever,
        index=found.index,
        batch_size=found.batch_size,
        results=[Result(rank=rank, score=score, **_shared(clip, request, name)) for rank, (score, clip) in ranked],
        next=pages.after(query, found.index) if found.more else None,
    )


def _clip(row: dict[str, Any], request: Request, name: str | None) -> Clip:
    fields = {name: row[name] for name in ("kind", "num_frames", "fps", "width", "height")}
    return Clip(**_shared(row, request, name), **fields, attributes=dict(row["attributes"] or ()))


def _shared(clip: dict[str, Any], request: Request, retriever: str | None) -> dict[str, Any]:
    """The fields that an answer and a clip have in common."""
    prefix, name = request.scope.get("root_path", ""), quote(clip["clip_id"], safe="")
    of = f"?retriever={retriever}" if retriever else ""
    return {
        **{field: clip[field] for field in ("clip_id", "label", "start_s", "end_s")},
        "media": f"{prefix}/media/{name}{of}",
        "thumbnail": f"{prefix}/thumbnail/{name}{of}",
    }
