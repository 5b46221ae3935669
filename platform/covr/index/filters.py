"""A filter evaluated on rows of the clips table."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covr.client.filters import ATTRIBUTE, And, Equal, In, Node, Not, Or, Range

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def matches(clips: pa.Table, node: Node) -> np.ndarray:
    """Which of `clips` (N rows of the clips table) a filter lets through, bool (N,)."""
    return _holds(clips.combine_chunks(), node).to_numpy(zero_copy_only=False)


def _holds(clips: pa.Table, node: Node) -> pa.Array:
    match node:
        case And(all=nodes):
            return reduce(pc.and_, [_holds(clips, each) for each in nodes])
        case Or(any=nodes):
            return reduce(pc.or_, [_holds(clips, each) for each in nodes])
        case Not(negated=negated):
            return pc.invert(_holds(clips, negated))
        case Equal(field=field, equal=value):
            held = pc.equal(_column(clips, field), value)
        case In(field=field, values=values):
            column = _column(clips, field)
            is_text = pa.types.is_string(column.type)
            held = pc.is_in(column if is_text else pc.cast(column, pa.float64()), pa.array(values))
        case Range(field=field, range=(least, most)):
            column = _numbers(_column(clips, field))
            held = pc.is_valid(column)
            if least is not None:
                held = pc.and_(held, pc.greater_equal(column, least))
            if most is not None:
                held = pc.and_(held, pc.less_equal(column, most))
    return pc.fill_null(held, False)


def _column(clips: pa.Table, field: str) -> pa.Array:
    if field.startswith(ATTRIBUTE):
        attributes = clips["attributes"].combine_chunks()
        return pc.map_lookup(attributes, query_key=field.removeprefix(ATTRIBUTE), occurrence="first")
    return clips[field].combine_chunks()


def _numbers(column: pa.Array) -> pa.Array:
    """As float64; a text that is no number is null."""
    if not pa.types.is_string(column.type):
        return pc.cast(column, pa.float64())
    is_number = pc.match_substring_regex(column, _NUMBER)
    return pc.cast(pc.if_else(is_number, column, pa.scalar(None, pa.string())), pa.float64())
