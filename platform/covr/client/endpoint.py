"""The Python client of the endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from covr.client.schema import Clip, Problem, Ready, Removed, SearchAnswer, SearchAnswers
from covr.errors import UserError

DEFAULT_URL = "http://127.0.0.1:8000"

_Model = TypeVar("_Model", bound=BaseModel)


class RequestRefused(UserError):
    """The endpoint answered with an error.

    Attributes:
        status: of HTTP.
        problem: the whole answer; None where something else than the endpoint answered.
    """

    def __init__(self, what: str, where: str = "", fix: str = "", status: int = 0, problem: Problem | None = None):
        super().__init__(what, where, fix)
        self.status, self.problem = status, problem


class Client:
    """A connection to one endpoint; usable as a context manager.

    Args:
        base_url: of the server with its route prefix, e.g. `http://127.0.0.1:8000`.
        key: an API key, where the endpoint asks for one.
        timeout_s: for one request as a whole to connect, to write and to be answered.

    Example:
        >>> with Client() as client:
        ...     answer = client.search(clip_id="a", text="with two turns", k=5)
        ...     print(answer.results[0].clip_id)
    """

    def __init__(self, base_url: str = DEFAULT_URL, timeout_s: float = 60.0, key: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        try:
            headers = {"Authorization": f"Bearer {key}"} if key else None
            self._http = httpx.Client(base_url=self.base_url, timeout=timeout_s, trust_env=False, headers=headers)
        except httpx.InvalidURL as error:
            raise UserError(f"not a URL: {error}", base_url, "give one like http://127.0.0.1:8000") from None

    def search(
        self,
        *,
        text: str | None = None,
        video: str | Path | None = None,
        clip_id: str | None = None,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,
        exclude: Sequence[str] = (),
        cursor: str | None = None,
    ) -> SearchAnswer:
        """The clips that are like the query's video but changed as the text says.

        Args:
            text: the modification; alone: a description of what is looked for.
            video: a file to send; or
            clip_id: a clip that the endpoint has indexed. Alone: what looks the same is looked for.
            k: how many answers.
            filter: conditions on the answers, see `covr.client.filters`.
            exclude: clips that are no answers.
            cursor: `next` of the answer before, for the page behind it.

        Raises:
            RequestRefused: the endpoint refused the query: an unknown clip, not a video, a limit, not ready.
            UserError: nothing to search by, nothing answers at the URL, or the file cannot be read.
        """
        if video is not None and clip_id is not None:
            raise UserError("a video and a clip id", "", "give one of the two")
        if text is None and video is None and clip_id is None:
            raise UserError("nothing to search by", "", "give a text, a video or a clip id")
        given = {"clip_id": clip_id, "text": text, "filter": filter, "exclude": list(exclude), "cursor": cursor}
        fields = {"k": k, **{name: value for name, value in given.items() if value not in (None, [])}}
        if video is None:
            return self._ask(SearchAnswer, "POST", "/v1/search", json=fields)
        return self._send_file(SearchAnswer, "/v1/search", Path(video), fields)

    def search_many(self, queries: Sequence[Mapping[str, Any]]) -> list[SearchAnswer]:
        """The answers to several queries in one request, in their order.

        Args:
            queries: the fields of `covr.client.SearchQuery` each.

        Raises:
            RequestRefused: the endpoint refused one of them, which is named; none is answered.
        """
        return self._ask(SearchAnswers, "POST", "/v1/search/batch", json={"queries": list(queries)}).answers

    def clip(self, clip_id: str) -> Clip:
        """An indexed clip.

        Raises:
            RequestRefused: no clip of this id is indexed.
        """
        return self._ask(Clip, "GET", f"/v1/clips/{quote(clip_id, safe='')}")

    def add_clip(
        self, clip_id: str, video: str | Path, *, label: str | None = None, attributes: Mapping[str, str] | None = None
    ) -> Clip:
        """Index a video or image file, or replace the clip of this id; it is on disk there and found when this returns.

        Sent again after a lost connection, it does no harm: the id decides.

        Raises:
            RequestRefused: not a video, a limit, or the index cannot be changed.
        """
        fields = {"clip_id": clip_id, "attributes": dict(attributes or {}), **({"label": label} if label else {})}
        return self._send_file(Clip, "/v1/clips", Path(video), fields)

    def remove_clip(self, clip_id: str) -> Removed:
        """Index a clip no more.

        Raises:
            RequestRefused: no clip of this id is indexed.
        """
        return self._ask(Removed, "DELETE", f"/v1/clips/{quote(clip_id, safe='')}")

    def ready(self) -> Ready:
        """What serves, once it has answered a query of its own.

        Raises:
            RequestRefused: it is not ready; the message says why.
        """
        return self._ask(Ready, "GET", "/readyz")

    def reload(self) -> Ready:
        """Have the endpoint swap to the retriever and index that its storage root names now.

        Raises:
            RequestRefused: the new pair was refused, and why; the old one goes on.
        """
        return self._ask(Ready, "POST", "/v1/admin/reload")

    def fetch(self, link: str) -> bytes:
        """The bytes behind a `media` or `thumbnail` link of an answer."""
        return self._send("GET", str(httpx.URL(self.base_url).join(link))).content

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send_file(self, model: type[_Model], route: str, path: Path, fields: Mapping[str, Any]) -> _Model:
        """A multipart request: a file as `video`, and fields as text or JSON."""
        with ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb"))
            except OSError as error:
                raise UserError(f"cannot read the video ({error.strerror})", str(path), "give a file") from None
            return self._ask(
                model,
                "POST",
                route,
                files={"video": (path.name, file, "application/octet-stream")},
                data={name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()},
            )

    def _ask(self, model: type[_Model], method: str, path: str, **content: object) -> _Model:
        response = self._send(method, path, **content)
        try:
            return model.model_validate_json(response.content)
        except ValidationError:
            raise UserError(
                "the answer is not that of a covr endpoint", self.base_url, "check the URL and the versions"
            ) from None

    def _send(self, method: str, path: str, **content: object) -> httpx.Response:
        try:
            response = self._http.request(method, path, **content)  # type: ignore[arg-type]
        except httpx.ConnectError:
            raise UserError("nothing listens there", self.base_url, "start the endpoint with `make serve`") from None
        except httpx.TimeoutException:
            raise UserError("no answer in time", self.base_url, "try again, or raise the timeout") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise UserError(
                f"the request failed ({type(error).__name__})", self.base_url, "check the URL and the server's log"
            ) from None
        if response.is_error:
            raise _refusal(response)
        return response


def _refusal(response: httpx.Response) -> RequestRefused:
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return RequestRefused(
            f"HTTP {response.status_code} from something that is not a covr endpoint",
            str(response.url),
            "check the URL",
            response.status_code,
        )
    what = "; ".join([problem.detail, *(f"{error.field}: {error.message}" for error in problem.errors)])
    return RequestRefused(what, f"request {problem.request_id}", "", problem.status, problem)
