"""What the OpenAPI document says of bodies and headers that routes read themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from covr.client.schema import SearchQueries
from serve import problems

SCHEMAS = models_json_schema([(SearchQueries, "validation")], ref_template=problems.REFERENCE)[1]["$defs"]


def of(model: type[BaseModel]) -> dict[str, Any]:
    """Where the document has the model."""
    return {"$ref": problems.REFERENCE.format(model=model.__name__)}


def sent(model: type[BaseModel]) -> dict[str, Any]:
    """A multipart body: a file `video`, and the model's fields beside it."""
    schema = model.model_json_schema(ref_template=problems.REFERENCE)
    schema.pop("$defs", None)
    video = {"type": "string", "format": "binary", "description": "A video or image file."}
    return {
        **schema,
        "title": f"{model.__name__}WithFile",
        "properties": {"video": video, **schema["properties"]},
        "required": ["video", *schema.get("required", [])],
    }


def body(kinds: dict[str, Any], *headers: dict[str, Any]) -> dict[str, Any]:
    """A request body by its content types, and the headers beside it, as `openapi_extra` takes them."""
    content = {name: {"schema": schema} for name, schema in kinds.items()}
    return {"requestBody": {"required": True, "content": content}, "parameters": list(headers)}


def _header(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": schema, "description": description}


TIMEOUT = _header(
    "X-Request-Timeout",
    {"type": "number", "exclusiveMinimum": 0},
    "Seconds that the caller waits; what takes longer is ended, and answered 504.",
)
KEY = _header(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "The same request under the same key is done once, and answered alike.",
)
