"""Filters on the clips table against plain Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from covr import tables
from covr.client.filters import Filter
from covr.index.filters import matches

FILTER = TypeAdapter(Filter)
TEXTS, NUMBERS, TURNS = ["a", "b", "ü"], [0.0, 1.0, 2.5], ["1", "2.5", "many", "-3e0"]

rows = st.lists(
    st.fixed_dictionaries(
        {
            "label": st.sampled_from([*TEXTS, None]),
            "fps": st.sampled_from([*NUMBERS, None]),
            "width": st.sampled_from([0, 1, 2, None]),
            "attributes": st.one_of(
                st.none(), st.dictionaries(st.sampled_from(["turns", "x"]), st.sampled_from(TURNS)).map(dict.items)
            ),
        }
    ),
    min_size=1,
    max_size=12,
)
bounds = st.tuples(*[st.one_of(st.none(), st.floats(-4, 4))] * 2).map(list)
leaves = st.one_of(
    st.builds(lambda value: {"field": "label", "equal": value}, st.sampled_from(TEXTS)),
    st.builds(lambda value: {"field": "attributes.turns", "equal": value}, st.sampled_from(TURNS)),
    st.builds(
        lambda name, values: {"field": name, "in": values},
        st.sampled_from(["fps", "width"]),
        st.lists(st.sampled_from(NUMBERS), min_size=1),
    ),
    st.builds(
        lambda name, value: {"field": name, "range": value}, st.sampled_from(["fps", "attributes.turns"]), bounds
    ),
)
filters = st.recursive(
    leaves,
    lambda below: st.one_of(
        st.builds(lambda nodes: {"and": nodes}, st.lists(below, min_size=1, max_size=3)),
        st.builds(lambda nodes: {"or": nodes}, st.lists(below, min_size=1, max_size=3)),
        st.builds(lambda node: {"not": node}, below),
    ),
    max_leaves=6,
)


def judged(row: dict, node: dict) -> bool:
    """What the filter means, one row at a time."""
    if "and" in node:
        return all(judged(row, each) for each in node["and"])
    if "or" in node:
        return any(judged(row, each) for each in node["or"])
    if "not" in node:
        return not judged(row, node["not"])
    name = node["field"]
    attributes = dict(row["attributes"] or ())
    value = attributes.get(name.removeprefix("attributes.")) if name.startswith("attributes.") else row[name]
    if value is None:
        return False
    if "equal" in node:
        return value == node["equal"]
    if "in" in node:
        return value in node["in"]
    try:
        number = float(value)
    except ValueError:
        return False
    least, most = node["range"]
    return (least is None or number >= least) and (most is None or number <= most)


def depth(node: dict) -> int:
    below = node.get("and") or node.get("or") or ([node["not"]] if "not" in node else [])
    return 1 + max(map(depth, below), default=0)


@given(rows, filters.filter(lambda node: depth(node) <= 5))
def test_equals_plain_python(clips, node):
    table = tables.from_rows("clips", [{**row, "attributes": list(row["attributes"] or ())} for row in clips])
    found = matches(table, FILTER.validate_json(json.dumps(node)))
    np.testing.assert_array_equal(found, [judged(row, node) for row in clips])


def nested(levels: int) -> dict:
    node: dict = {"field": "label", "equal": "a"}
    for _ in range(levels - 1):
        node = {"not": node}
    return node


LEAF = {"field": "label", "equal": "a"}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({}, "must be an object with one of"),
        ([], "must be an object with one of"),
        (LEAF | {"more": 1}, "Extra inputs"),
        (LEAF | {"in": ["a"]}, "Extra inputs"),
        ({"and": []}, "at least 1 item"),
        ({"field": "uri", "equal": "a"}, "must be one of clip_id"),
        ({"field": "fps", "equal": "30"}, "fps holds numbers"),
        ({"field": "label", "equal": 3}, "label holds texts"),
        ({"field": "label", "range": [1, 2]}, "label holds texts"),
        ({"field": "fps", "range": [1]}, "range"),
        (nested(6), "deeper than 5"),
        ({"or": [LEAF] * 65}, "more than 64 conditions"),
        ("endless", "."),
    ],
)
def test_what_is_no_filter_is_refused(node, message):
    text = '{"not":' * 5000 + "1" + "}" * 5000 if message == "." else json.dumps(node)
    with pytest.raises(ValidationError, match=message):
        FILTER.validate_json(text)


def test_the_limits_themselves_pass():
    FILTER.validate_json(json.dumps(nested(5)))
    FILTER.validate_json(json.dumps({"or": [LEAF] * 64}))
