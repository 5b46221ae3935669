"""Every error leaves as RFC 9457 problem+json with a request id; never a path, a trace or a foreign message."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from covr.client import Problem as ProblemBody
from covr.client.schema import FieldError

logger = logging.getLogger("ray.serve")

MEDIA_TYPE = "application/problem+json"
KIND = "covr.problem"
"""Where the kind of the problem that answered it stands in a connection's scope."""


class Problem(Exception):
    """A refusal.

    Args:
        status: of HTTP.
        kind: a stable word for this kind of problem; the last part of its `type`.
        detail: one sentence for the caller.
        errors: what is wrong with which field.
        headers: of the response.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        errors: list[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, kind, detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.errors, self.headers = errors or [], headers

    def response(self, request: HTTPConnection) -> Response:
        """This problem as the answer to a request."""
        request.scope[KIND] = self.kind
        body = ProblemBody(
            type=f"urn:covr:problem:{self.kind}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            request_id=request_id(request),
            errors=self.errors,
        )
        return Response(body.model_dump_json(), self.status, self.headers, MEDIA_TYPE)


def request_id(request: HTTPConnection) -> str:
    """The id that Serve's proxy gave the request and logs it under; it returns it as X-Request-ID too."""
    return request.headers.get("x-request-id") or uuid.uuid4().hex


def invalid(error: ValidationError | RequestValidationError) -> Problem:
    """A request whose fields are not as they must be: 422, or 400 where the JSON itself is broken."""
    errors = error.errors()
    if any(item["type"] == "json_invalid" and not item["loc"] for item in errors):
        return Problem(400, "malformed-json", "The body is not JSON.")
    fields = [FieldError(field=".".join(map(str, item["loc"])), message=item["msg"]) for item in errors]
    return Problem(422, "invalid-field", "The request is not as it must be.", fields)


def field(name: str, message: str) -> Problem:
    """A request of which one field is not as it must be: 422."""
    error = FieldError(field=name[:100], message=message)
    return Problem(422, "invalid-field", "The request is not as it must be.", [error])


def install(api: FastAPI, schemas: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Let an application answer every error as a problem.

    Args:
        schemas: more of the document's components, by their names.
    """

    describe = api.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        document["components"]["schemas"] |= {**_SCHEMAS, **schemas}
        return document

    api.openapi = openapi  # type: ignore[method-assign]

    @api.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> Response:
        return problem.response(request)

    @api.exception_handler(RequestValidationError)
    async def _fields(request: Request, error: RequestValidationError) -> Response:
        return invalid(error).response(request)

    @api.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        detail = {404: "There is no such route.", 405: "The route has no such method."}.get(error.status_code, kind)
        return Problem(error.status_code, kind, detail, headers=error.headers).response(request)

    @api.exception_handler(Exception)
    async def _failure(request: Request, error: Exception) -> Response:
        logger.error("request %s failed", request_id(request), exc_info=error)
        return Problem(500, "internal", "The request failed; the server's log has it by its id.").response(request)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route, for OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def _schemas() -> dict[str, Any]:
    schema = ProblemBody.model_json_schema(ref_template=REFERENCE)
    return {**schema.pop("$defs"), "Problem": schema}


# FastAPI would describe a response model as application/json; so these are put into the document by `install`.
REFERENCE = "#/components/schemas/{model}"
_SCHEMAS = _schemas()
