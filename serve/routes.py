"""The HTTP side: routes, what they accept, what they answer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import FastAPI, Path, Request
from pydantic import ValidationError
from starlette.responses import Response

from covr import __version__
from covr.client.schema import Clip, ClipQuery, Health, Ready, Result, SearchAnswer
from serve import media, problems, uploads
from serve.guard import BodyGuard
from serve.pair import Query
from serve.problems import Problem, documented, request_id

if TYPE_CHECKING:
    from serve.gateway import Gateway

ClipId = Annotated[str, Path(max_length=1024, description="Percent-encoded, its slashes too.")]

_SEARCH_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": ClipQuery.model_json_schema()},
        "multipart/form-data": {"schema": uploads.json_schema()},
    },
}
_KEEP = {"Cache-Control": "private, max-age=3600"}


def build(gateway: Gateway) -> FastAPI:
    """The ASGI application over a gateway."""
    api = FastAPI(
        title="covr",
        version=__version__,
        description="Composed video retrieval: a query video and a sentence that says what should be different.",
    )
    api.add_middleware(BodyGuard)
    problems.install(api)

    @api.post(
        "/v1/search",
        responses=documented(400, 404, 408, 413, 415, 422, 503, 504),
        openapi_extra={"requestBody": _SEARCH_BODY},
    )
    async def search(request: Request) -> SearchAnswer:
        """The clips that are like the query's video but changed as the text says.

        The video is an indexed clip (JSON) or a file that is sent (multipart). The query's own clip is left out.
        """
        start = time.perf_counter()
        content = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if content == "application/json":
            query = await _clip_query(request)
        elif content == "multipart/form-data":
            async with uploads.received(request) as upload:
                query = await gateway.decode(upload)
        else:
            raise Problem(415, "content-type", "Send application/json or multipart/form-data.")
        found = await gateway.search(query)
        results = [
            Result(rank=rank, score=score, **_shared(clip, request))
            for rank, (score, clip) in enumerate(zip(found.scores, found.clips, strict=True), 1)
        ]
        return SearchAnswer(
            request_id=request_id(request),
            took_ms=round(1000 * (time.perf_counter() - start), 3),
            retriever=found.retriever,
            index=found.index,
            batch_size=found.batch_size,
            results=results,
        )

    @api.get("/v1/clips/{clip_id:path}", responses=documented(404, 422, 503, 504))
    async def clip(request: Request, clip_id: ClipId) -> Clip:
        """An indexed clip."""
        row = await gateway.clip(clip_id)
        fields = {name: row[name] for name in ("kind", "num_frames", "fps", "width", "height")}
        return Clip(**_shared(row, request), **fields, attributes=dict(row["attributes"] or ()))

    @api.api_route(
        "/media/{clip_id:path}",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses={
            200: {"description": "The file.", "content": {"video/*": {}, "image/*": {}}},
            206: {"description": "The part of the file that a Range header asks for."},
            **documented(404, 416, 422, 503, 504),
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
            **documented(404, 422, 503, 504),
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

    return api


async def _clip_query(request: Request) -> Query:
    body = await request.body()
    if not body.strip():
        raise Problem(422, "empty-body", "The body is empty.")
    try:
        asked = ClipQuery.model_validate_json(body)
    except ValidationError as error:
        raise problems.invalid(error) from None
    return Query(text=asked.text, k=asked.k, clip_id=asked.clip_id)


def _shared(clip: dict[str, Any], request: Request) -> dict[str, Any]:
    """The fields that an answer and a clip have in common."""
    prefix, name = request.scope.get("root_path", ""), quote(clip["clip_id"], safe="")
    return {
        **{field: clip[field] for field in ("clip_id", "label", "start_s", "end_s")},
        "media": f"{prefix}/media/{name}",
        "thumbnail": f"{prefix}/thumbnail/{name}",
    }
