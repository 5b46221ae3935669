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


Refines = Annotated[
    list[Text],
    Field(
        max_length=LIMITS.max_refinements,
        description="The sentences before `text`, oldest first: the last answer is refined by `text`.",
    ),
]
ClipName = Annotated[str, Field(min_length=1, max_length=1024)]
Exclude = Annotated[list[ClipName], Field(max_length=LIMITS.max_exclude, description="Clips that are no answers.")]
Cursor = Annotated[
    str, Field(min_length=1, max_length=200, description="`next` of the page before, with the same query.")
]
Retriever = Annotated[str, Field(max_length=64, description="One of the endpoint's retrievers; none: the first.")]
Mode = Literal["composed", "text", "video"]
"""What a query is made of: a video and a text, a text alone, a video alone."""


class SearchQuery(BaseModel):
    """A query by an indexed clip, by a text, or by both: JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    clip_id: ClipName | None = None
    video_url: (
        Annotated[str, Field(max_length=2048, description="https://, of a host that the endpoint allows.")] | None
    ) = None
    text: Text | None = None
    refines: Refines = []
    k: K = 10
    filter: Filter | None = None
    exclude: Exclude = []
    cursor: Cursor | None = None
    retriever: Retriever | None = None

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.clip_id is not None and self.video_url is not None:
            raise ValueError("has a clip_id and a video_url: give one of them")
        if self.clip_id is None and self.video_url is None and self.text is None:
            raise ValueError("needs a clip_id, a text, or both")
        return self

    @model_validator(mode="after")
    def _refining(self) -> Self:
        whole_text(self)
        return self


class UploadQuery(BaseModel):
    """What comes beside the `video` part of a multipart query, each as text; `filter` and `exclude` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Text | None = None
    refines: Json[Refines] = []
    k: K = 10
    filter: Json[Filter] | None = None
    exclude: Json[Exclude] = []
    cursor: Cursor | None = None
    retriever: Retriever | None = None

    @model_validator(mode="after")
    def _refining(self) -> Self:
        whole_text(self)
        return self


def whole_text(query: SearchQuery | UploadQuery) -> str | None:
    """What the model reads of a query: its sentences in their order, as one that says all of them.

    Raises:
        ValueError: a sentence to refine and none that refines it, or all of them together over the limit.
    """
    if query.refines and query.text is None:
        raise ValueError("refines needs a text")
    sentences = [sentence.strip().rstrip(".,;") for sentence in query.refines]
    whole = ", ".join([*sentences, query.text]) if query.text is not None else None
    if whole is not None and len(whole) > LIMITS.max_text_chars:
        raise ValueError(f"the sentences together are longer than {LIMITS.max_text_chars} characters")
    return whole


class NewClip(BaseModel):
    """What comes beside the `video` part when a clip is added, each as text; `attributes` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip_id: ClipName = Field(description="An indexed clip of this id is replaced.")
    label: Annotated[str, Field(max_length=1024)] | None = None
    attributes: Json[dict[str, str]] = {}
    retriever: Retriever | None = None


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
    queue: float = Field(description="Before its batch began.")
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
    text: str | None = Field(description="What the model read: `refines` and `text` as one.")
    truncated: bool = Field(description="The text is longer than the model reads: its end had no influence.")
    unseen: list[str] | None = Field(
        description="Words of the text that the model was never trained on; null where it is not known what it was."
    )
    confident: bool | None = Field(
        description="The first answer's score is one at which validation queries were answered rightly; "
        "null where that was not measured: without validation queries, and for a text or a video alone."
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


class Serving(BaseModel):
    """What answers."""

    clips: int = Field(description="Indexed clips.")
    retriever: str = Field(description="Fingerprint of the retriever.")
    index: str = Field(description="Fingerprint of the index.")
    refused: str | None = Field(
        default=None,
        description="Why the pair that index/current.json names now is not the one that is served; "
        "null where it is, or where it was not tried.",
    )


class Ready(Serving):
    """A true query was answered just now."""

    others: dict[str, Serving] = Field(default={}, description="The endpoint's other retrievers, by their names.")


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
