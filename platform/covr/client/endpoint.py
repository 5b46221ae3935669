"""The Python client of the endpoint."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from covr.client.schema import Clip, Problem, Ready, SearchAnswer
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
        timeout_s: for one request as a whole to connect, to write and to be answered.

    Example:
        >>> with Client() as client:
        ...     answer = client.search(clip_id="a", text="with two turns", k=5)
        ...     print(answer.results[0].clip_id)
    """

    def __init__(self, base_url: str = DEFAULT_URL, timeout_s: float = 60.0) -> None:
        self.base_url = base_url.rstrip("/")
        try:
            self._http = httpx.Client(base_url=self.base_url, timeout=timeout_s, trust_env=False)
        except httpx.InvalidURL as error:
            raise UserError(f"not a URL: {error}", base_url, "give one like http://127.0.0.1:8000") from None

    def search(
        self, *, text: str, video: str | Path | None = None, clip_id: str | None = None, k: int = 10
    ) -> SearchAnswer:
        """The clips that are like the query's video but changed as the text says.

        Args:
            text: the modification.
            video: a file to send; or
            clip_id: a clip that the endpoint has indexed. Exactly one of the two.
            k: how many answers.

        Raises:
            RequestRefused: the endpoint refused the query: an unknown clip, not a video, a limit, not ready.
            UserError: nothing answers at the URL, or the file cannot be read.
        """
        if (video is None) == (clip_id is None):
            raise UserError("a query has a video or a clip id, exactly one of them", "", "give one of the two")
        if clip_id is not None:
            return self._ask(SearchAnswer, "POST", "/v1/search", json={"clip_id": clip_id, "text": text, "k": k})
        path = Path(str(video))
        with ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb"))
            except OSError as error:
                raise UserError(f"cannot read the video ({error.strerror})", str(path), "give a file") from None
            return self._ask(
                SearchAnswer,
                "POST",
                "/v1/search",
                files={"video": (path.name, file, "application/octet-stream")},
                data={"text": text, "k": str(k)},
            )

    def clip(self, clip_id: str) -> Clip:
        """An indexed clip.

        Raises:
            RequestRefused: no clip of this id is indexed.
        """
        return self._ask(Clip, "GET", f"/v1/clips/{quote(clip_id, safe='')}")

    def ready(self) -> Ready:
        """What serves, once it has answered a query of its own.

        Raises:
            RequestRefused: it is not ready; the message says why.
        """
        return self._ask(Ready, "GET", "/readyz")

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
