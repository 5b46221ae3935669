"""The options `machine.*`: what a job may take of the machines that it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from covr.errors import UserError

Whole = Annotated[int, Field(ge=1, strict=True)]


class Machine(BaseModel):
    """Values that make sense; whether the cluster can hold them is asked when it is known (see `placement.require`)."""

    num_cpus: Whole | Literal["auto"]
    address: str
    object_store_mb: Annotated[int, Field(ge=80, strict=True)]  # Ray starts with no less
    decode_workers: Whole | Literal["auto"]
    encode_workers: Whole | Literal["auto"]
    encode_gpus: Annotated[float, Field(gt=0)]
    decode_resources: dict[str, Annotated[float, Field(ge=0)]] | None
    encode_resources: dict[str, Annotated[float, Field(ge=0)]] | None
    batch_clips: Whole
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]
    num_shards: Whole


def check_machine(machine: Mapping[str, Any]) -> None:
    """Refuse values with which Ray would crash, or wait for ever.

    Raises:
        UserError: naming the option.
    """
    try:
        Machine.model_validate(machine)
    except ValidationError as error:
        errors = error.errors()
        name = str(errors[0]["loc"][0])
        allowed = " or ".join(each["msg"].removeprefix("Input should be ") for each in errors if each["loc"][0] == name)
        raise UserError("a value that cannot be", f"machine.{name}={machine[name]}", f"give {allowed}") from None
