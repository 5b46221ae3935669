"""Plots are well-formed and keep to their box."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from covr.report.plots import MAX_POINTS, bar, curve

values = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(st.tuples(st.integers(0, 10**6), values), max_size=900))
def test_a_curve_of_anything_stays_in_its_box(points):
    svg = ElementTree.fromstring(str(curve(sorted(points, key=lambda point: point[0]))))
    path = svg.find("path").attrib["d"]
    drawn = [float(number) for number in re.findall(r"-?\d+\.\d+", path)]
    assert all(0 <= number <= 100 for number in drawn)
    assert len(drawn) <= 2 * (MAX_POINTS + 1)
    assert bool(drawn) == any(math.isfinite(y) for _, y in points)


@given(st.floats(0, 400), st.floats(0, 400), st.floats(0, 400))
def test_a_bar_ends_where_its_value_does(value, low, high):
    svg = ElementTree.fromstring(str(bar(value, sorted([low, high]), 100)))
    track, filled = svg.findall("rect")
    assert track.attrib["width"] == "100%"
    assert float(filled.attrib["width"].rstrip("%")) <= 100
    assert len(svg.findall("line")) == 3
