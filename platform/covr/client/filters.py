"""Filters on the clips that may be answers: conditions on one field, joined by and, or, not.

    {"field": "label", "equal": "jump"}
    {"field": "split", "in": ["train", "val"]}
    {"field": "attributes.turns", "range": [1.5, null]}
    {"and": [..., {"not": ...}]}

A clip without a value in a field meets no condition on it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, FiniteFloat, Tag, model_validator

from covr.limits import LIMITS

TEXT_FIELDS = ("clip_id", "kind", "label", "split", "source_video")
NUMBER_FIELDS = ("start_s", "end_s", "num_frames", "fps", "width", "height")
ATTRIBUTE = "attributes."

Value = str | FiniteFloat
_Kind = Literal["equal", "in", "range", "and", "or", "not"]
_KINDS: tuple[_Kind, ...] = ("equal", "in", "range", "and", "or", "not")


def _known(field: str) -> str:
    if field not in TEXT_FIELDS + NUMBER_FIELDS and not field.startswith(ATTRIBUTE):
        raise ValueError(f"must be one of {', '.join(TEXT_FIELDS + NUMBER_FIELDS)} or {ATTRIBUTE}NAME")
    return field


def is_number(field: str) -> bool:
    """Whether a field holds numbers; attributes hold texts, which a range reads as numbers."""
    return field in NUMBER_FIELDS


class _Node(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, serialize_by_alias=True)


class _Leaf(_Node):
    field: Annotated[str, Field(max_length=200), AfterValidator(_known)]

    def _check(self, *values: Value) -> None:
        wanted: type = float if is_number(self.field) else str
        if any(not isinstance(value, wanted) for value in values):
            raise ValueError(f"{self.field} holds {'numbers' if wanted is float else 'texts'}")


class Equal(_Leaf):
    """The field has this value."""

    equal: Value

    @model_validator(mode="after")
    def _typed(self) -> Equal:
        self._check(self.equal)
        return self


class In(_Leaf):
    """The field has one of these values."""

    values: list[Value] = Field(alias="in", min_length=1, max_length=LIMITS.max_filter_values)

    @model_validator(mode="after")
    def _typed(self) -> In:
        self._check(*self.values)
        return self


class Range(_Leaf):
    """The field, read as a number, lies between two bounds, both included; null: no bound."""

    range: tuple[FiniteFloat | None, FiniteFloat | None]

    @model_validator(mode="after")
    def _typed(self) -> Range:
        if not (is_number(self.field) or self.field.startswith(ATTRIBUTE)):
            raise ValueError(f"{self.field} holds texts")
        return self


class And(_Node):
    """All of them hold."""

    all: list[Node] = Field(alias="and", min_length=1)


class Or(_Node):
    """At least one of them holds."""

    any: list[Node] = Field(alias="or", min_length=1)


class Not(_Node):
    """It does not hold."""

    negated: Node = Field(alias="not")


def _kind(value: Any) -> _Kind | None:
    if isinstance(value, dict):
        return next((kind for kind in _KINDS if kind in value), None)
    return next((kind for kind, model in zip(_KINDS, _MODELS, strict=True) if isinstance(value, model)), None)


Node = Annotated[
    Annotated[Equal, Tag("equal")]
    | Annotated[In, Tag("in")]
    | Annotated[Range, Tag("range")]
    | Annotated[And, Tag("and")]
    | Annotated[Or, Tag("or")]
    | Annotated[Not, Tag("not")],
    Discriminator(
        _kind,
        custom_error_type="filter",
        custom_error_message=f"must be an object with one of {', '.join(_KINDS)}",
    ),
]
_MODELS = (Equal, In, Range, And, Or, Not)


def _bounded(node: Any) -> Any:
    depth, level, leaves = 0, [node], 0
    while level:
        depth += 1
        leaves += sum(isinstance(each, _Leaf) for each in level)
        level = [below for each in level for below in _below(each)]
    if depth > LIMITS.max_filter_depth:
        raise ValueError(f"deeper than {LIMITS.max_filter_depth}")
    if leaves > LIMITS.max_filter_leaves:
        raise ValueError(f"more than {LIMITS.max_filter_leaves} conditions")
    return node


def _below(node: Any) -> list[Any]:
    match node:
        case And(all=nodes) | Or(any=nodes):
            return nodes
        case Not(negated=negated):
            return [negated]
    return []


Filter = Annotated[Node, AfterValidator(_bounded)]

for _model in (And, Or, Not):
    _model.model_rebuild()
