"""What goes over the wire: the requests and answers of the endpoint, shared by the service and its client."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Json, model_validator

from covr.client.filters import Filter
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


ClipName = Annotated[str, Field(min_length=1, max_length=1024)]
Exclude = Annotated[list[ClipName], Field(max_length=LIMITS.max_exclude, description="Clips that are no answers.")]
Cursor = Annotated[
    str, Field(min_length=1, max_length=200, description="`next` of the page before, with the same query.")
]
Mode = Literal["composed", "text", "video"]
"""What a query is made of: a video and a text, a text alone, a video alone."""


class SearchQuery(BaseModel):
    """A query by an indexed clip, by a text, or by both: JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    clip_id: ClipName | None = None
    text: Text | None = None
    k: K = 10
    filter: Filter | None = None
    exclude: Exclude = []
    cursor: Cursor | None = None

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.clip_id is None and self.text is None:
            raise ValueError("needs a clip_id, a text, or both")
        return self


class UploadQuery(BaseModel):
    """What comes beside the `video` part of a multipart query, each as text; `filter` and `exclude` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Text | None = None
    k: K = 10
    filter: Json[Filter] | None = None
    exclude: Json[Exclude] = []
    cursor: Cursor | None = None


class NewClip(BaseModel):
    """What comes beside the `video` part when a clip is added, each as text; `attributes` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip_id: ClipName = Field(description="An indexed clip of this id is replaced.")
    label: Annotated[str, Field(max_length=1024)] | None = None
    attributes: Json[dict[str, str]] = {}


class Removed(BaseModel):
    """A clip that is indexed no more."""

    clip_id: str


class SearchQueries(BaseModel):
    """Several queries in one request."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    queries: list[SearchQuery] = Field(min_length=1, max_length=LIMITS.max_queries)


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


class Timings(BaseModel):
    """Milliseconds of a query's stages; encoding and search are those of the whole batch."""

    decode: float | None = Field(description="Null where no clip was sent.")
    encode: float
    search: float


class SearchAnswer(BaseModel):
    """The answers to one query, best first; the query's own clip is never among them."""

    request_id: str
    took_ms: float
    timings_ms: Timings
    mode: Mode
    text_share: float | None = Field(
        description="Weight of the text against the video in the fusion, 0 to 1; null where the model has none."
    )
    retriever: str = Field(description="Fingerprint of the retriever that answered.")
    index: str = Field(description="Fingerprint of the index that was searched.")
    batch_size: int = Field(ge=1, description="Queries that were answered in the same pass.")
    results: list[Result]
    next: str | None = Field(description="Cursor of the next page; null: there are no more answers.")


class SearchAnswers(BaseModel):
    """The answers to several queries, in their order."""

    answers: list[SearchAnswer]


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
