"""What a client sends for each thing that can be asked: the same for `Client` and `AsyncClient`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from covr.client.schema import Clip, Ready, Removed, SearchAnswer, SearchAnswers, Serving
from covr.errors import UserError

Answer = TypeVar("Answer", bound=BaseModel)


class SearchOptions(TypedDict, total=False):
    """A query."""

    text: str | None
    """The modification; alone: a description of what is looked for."""
    video: str | Path | None
    """A file to send; or"""
    video_url: str | None
    """one that it fetches, from a host that it allows; or"""
    clip_id: str | None
    """a clip that it has indexed. Alone: what looks the same is looked for."""
    refines: Sequence[str]
    """The sentences before `text`, oldest first: their answer is refined by `text`."""
    k: int
    """How many answers; 10 where not given."""
    filter: Mapping[str, Any] | None
    """Conditions on the answers, see `covr.client.filters`."""
    exclude: Sequence[str]
    """Clips that are no answers."""
    cursor: str | None
    """`next` of the answer before, for the page behind it."""
    retriever: str | None
    """One of the endpoint's retrievers; None: the first."""


class ClipOptions(TypedDict, total=False):
    """What is said of a clip that is added."""

    label: str | None
    attributes: Mapping[str, str] | None
    """For filters."""
    retriever: str | None
    """One of the endpoint's retrievers; None: the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask(Generic[Answer]):
    """One request, and what answers it."""

    answer: type[Answer]
    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    """JSON; beside a file, its fields."""
    file: Path | None = None
    changes: bool = False
    """It changes the index: sent again only under the key of the first time."""

    def headers(self) -> dict[str, str]:
        """For all times that this is sent."""
        return {"Idempotency-Key": uuid.uuid4().hex} if self.changes else {}

    def form(self) -> dict[str, str]:
        """The fields beside a file, each as text or JSON."""
        return {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in (self.body or {}).items()
        }


def search(options: SearchOptions) -> Ask[SearchAnswer]:
    """A query.

    Raises:
        UserError: nothing to search by, or a file and a clip.
    """
    fields = {name: value for name, value in options.items() if value is not None and name != "video"}
    for name in ("refines", "exclude"):
        if name in fields:
            fields[name] = list(fields[name])  # type: ignore[call-overload]
    video = options.get("video")
    if (video is not None) + len(fields.keys() & {"clip_id", "video_url"}) > 1:
        raise UserError("several videos to search by", "video, video_url, clip_id", "give one of them")
    if video is None and not fields.keys() & {"clip_id", "video_url", "text"}:
        raise UserError("nothing to search by", "video, clip_id, text", "give a video or a clip, a text, or both")
    return Ask(
        answer=SearchAnswer,
        method="POST",
        path="/v1/search",
        body=fields,
        file=None if video is None else Path(video),
    )


def search_many(queries: Sequence[Mapping[str, Any]]) -> Ask[SearchAnswers]:
    """Several queries."""
    return Ask(answer=SearchAnswers, method="POST", path="/v1/search/batch", body={"queries": list(queries)})


def clip(clip_id: str, retriever: str | None) -> Ask[Clip]:
    """An indexed clip."""
    return Ask(answer=Clip, method="GET", path=f"/v1/clips/{quote(clip_id, safe='')}", params=_of(retriever))


def add_clip(clip_id: str, video: str | Path, options: ClipOptions) -> Ask[Clip]:
    """A clip to index."""
    given = {name: value for name, value in options.items() if value is not None}
    fields = {"clip_id": clip_id, **given, "attributes": dict(options.get("attributes") or {})}
    return Ask(answer=Clip, method="POST", path="/v1/clips", body=fields, file=Path(video), changes=True)


def remove_clip(clip_id: str, retriever: str | None) -> Ask[Removed]:
    """A clip to index no more."""
    path = f"/v1/clips/{quote(clip_id, safe='')}"
    return Ask(answer=Removed, method="DELETE", path=path, params=_of(retriever), changes=True)


def ready() -> Ask[Ready]:
    """What serves."""
    return Ask(answer=Ready, method="GET", path="/readyz")


def reload(retriever: str | None) -> Ask[Serving]:
    """A swap."""
    return Ask(answer=Serving, method="POST", path="/v1/admin/reload", params=_of(retriever))


def _of(retriever: str | None) -> dict[str, str]:
    return {} if retriever is None else {"retriever": retriever}
