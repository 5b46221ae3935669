"""What goes over the wire: the requests and answers of the endpoint, shared by the service and its client."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from covr.limits import LIMITS


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Text = Annotated[
    str,
    Field(min_length=1, max_length=LIMITS.max_text_chars, description="What should be different in the target."),
    AfterValidator(_not_blank),
]
K = Annotated[int, Field(ge=1, le=LIMITS.max_k, description="How many answers.")]


class ClipQuery(BaseModel):
    """A query by an indexed clip: JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    clip_id: str = Field(min_length=1, max_length=1024)
    text: Text
    k: K = 10


class UploadQuery(BaseModel):
    """What comes beside the `video` part of a multipart query, each as text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Text
    k: K = 10


class Result(BaseModel):
    """One answer; the links are relative to the server."""

    rank: int = Field(ge=1)
    clip_id: str
    score: float
    label: str | None
    start_s: float | None = Field(description="Start in the media file, in seconds; null: at its start.")
    end_s: float | None = Field(description="End in the media file, in seconds; null: at its end.")
    media: str
    thumbnail: str


class SearchAnswer(BaseModel):
    """The answers to one query, best first; the query's own clip is never among them."""

    request_id: str
    took_ms: float
    retriever: str = Field(description="Fingerprint of the retriever that answered.")
    index: str = Field(description="Fingerprint of the index that was searched.")
    batch_size: int = Field(ge=1, description="Queries that were answered in the same pass.")
    results: list[Result]


class Clip(BaseModel):
    """An indexed clip."""

    clip_id: str
    kind: str | None
    label: str | None
    attributes: dict[str, str]
    start_s: float | None
    end_s: float | None
    num_frames: int | None
    fps: float | None
    width: int | None
    height: int | None
    media: str
    thumbnail: str


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


class Ready(BaseModel):
    """A true query was answered just now."""

    clips: int = Field(description="Indexed clips.")
    retriever: str
    index: str


class FieldError(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 lays it out (application/problem+json)."""

    type: str = Field(description="A stable name for this kind of error, as a URN.")
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldError] = []
