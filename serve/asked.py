"""What a request asks for: its kind of body, the body checked against its model, the query that it is."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from covr.client.schema import SearchQuery, whole_text
from serve import pages, problems
from serve.problems import Problem
from serve.query import Query

_Model = TypeVar("_Model", bound=BaseModel)


def content_type(request: Request) -> str:
    """Without its parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def parsed(request: Request, model: type[_Model]) -> _Model:
    """A JSON body as its model.

    Raises:
        Problem: it is empty, not JSON, not as the model says, or has a field twice.
    """
    body = await request.body()
    if not body.strip():
        raise Problem(422, "empty-body", "The body is empty.")
    try:
        found = model.model_validate_json(body)
    except ValidationError as error:
        raise problems.invalid(error) from None
    json.loads(body, object_pairs_hook=_each_once)
    return found


def _each_once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """What two values of one field mean is not for us to guess."""
    found = dict(fields)
    if len(found) < len(fields):
        names = [name for name, _ in fields]
        raise problems.field(next(name for name in names if names.count(name) > 1), "given more than once")
    return found


def query_of(asked: SearchQuery) -> Query:
    """The query that a body asks, at its page.

    Raises:
        Problem: its video is to be fetched, which is not done here, or its cursor is of another query.
    """
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
