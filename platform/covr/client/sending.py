"""How a request is sent and sent again, and what becomes of its answer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from pydantic import ValidationError

from covr.client.asks import Answer, Ask
from covr.client.schema import Problem
from covr.errors import UserError

RETRIES = 3
TIMEOUT_HEADER = "X-Request-Timeout"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_PASSING = {429, 502, 503}
_LOST = (httpx.NetworkError, httpx.RemoteProtocolError)


class RequestRefused(UserError):
    """The endpoint answered with an error.

    Attributes:
        status: of HTTP.
        problem: the whole answer; None where something else than the endpoint answered.
    """

    def __init__(self, what: str, where: str = "", fix: str = "", status: int = 0, problem: Problem | None = None):
        super().__init__(what, where, fix)
        self.status, self.problem = status, problem


def options(base_url: str, timeout_s: float, key: str | None) -> dict:
    """Of an httpx client for an endpoint, which is told how long its caller waits."""
    headers = {TIMEOUT_HEADER: f"{timeout_s:g}", **({"Authorization": f"Bearer {key}"} if key else {})}
    return {"base_url": base_url, "timeout": timeout_s, "trust_env": False, "headers": headers}


def pauses(retries: int) -> Iterator[float]:
    """Seconds before each further try: twice as long each time, and not the same for all clients."""
    for number in range(retries):
        yield _FIRST_PAUSE_S * 2**number * random.uniform(0.5, 1.5)


def again_after(outcome: httpx.Response | httpx.HTTPError | httpx.InvalidURL, pauses: Iterator[float]) -> float | None:
    """Seconds after which a request is worth sending again; None: what came of it stays so, or no pause is left.

    A lost connection and an overloaded or restarting endpoint pass. One that asks for a longer patience is not waited
    for: it says why it is not ready.
    """
    passing = outcome.status_code in _PASSING if isinstance(outcome, httpx.Response) else isinstance(outcome, _LOST)
    pause_s = next(pauses, None) if passing else None
    if pause_s is None or not isinstance(outcome, httpx.Response):
        return pause_s
    asked = outcome.headers.get("retry-after", "")
    wait_s = max(pause_s, float(asked) if asked.isdecimal() else 0.0)
    return wait_s if wait_s <= _LONGEST_PAUSE_S else None


@contextmanager
def content(ask: Ask) -> Iterator[dict]:
    """The body of a request, for httpx.

    Raises:
        UserError: the file cannot be read.
    """
    if ask.file is None:
        yield {} if ask.body is None else {"json": ask.body}
        return
    try:
        file = ask.file.open("rb")
    except OSError as error:
        raise UserError(f"cannot read the video ({error.strerror})", str(ask.file), "give a file") from None
    with file:
        yield {"files": {"video": (ask.file.name, file, "application/octet-stream")}, "data": ask.form()}


def answered(ask: Ask[Answer], response: httpx.Response, base_url: str) -> Answer:
    """What was asked for.

    Raises:
        UserError: the answer is none of ours.
    """
    try:
        return ask.answer.model_validate_json(response.content)
    except ValidationError:
        raise UserError(
            "the answer is not that of a covr endpoint", base_url, "check the URL and the versions"
        ) from None


def checked(outcome: httpx.Response | httpx.HTTPError | httpx.InvalidURL, base_url: str) -> httpx.Response:
    """A response that is no error.

    Raises:
        RequestRefused: the endpoint refused the request.
        UserError: there was no answer.
    """
    if isinstance(outcome, httpx.Response):
        if outcome.is_error:
            raise refusal(outcome)
        return outcome
    if isinstance(outcome, httpx.ConnectError):
        raise UserError("nothing listens there", base_url, "start the endpoint with `make serve`") from None
    if isinstance(outcome, httpx.TimeoutException):
        raise UserError("no answer in time", base_url, "try again, or raise the timeout") from None
    what = f"the request failed ({type(outcome).__name__})"
    raise UserError(what, base_url, "check the URL and the server's log") from None


def refusal(response: httpx.Response) -> RequestRefused:
    """What an error says."""
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


def not_a_url(base_url: str, error: httpx.InvalidURL) -> UserError:
    """For a client that was given none."""
    return UserError(f"not a URL: {error}", base_url, "give one like http://127.0.0.1:8000")
