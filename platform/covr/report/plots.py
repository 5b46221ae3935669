"""Small inline SVG plots. Colours come from the page's CSS classes, so that they follow its light or dark theme.

Lengths along a plot are percentages of the width that the page gives it; text is HTML beside the plots. So nothing
is scaled down on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

MAX_POINTS = 400


def bar(value: float, interval: Sequence[float] | None, full: float, strong: bool = False) -> Markup:
    """A horizontal bar from 0 to `value` on a scale that ends at `full`, with a whisker for the interval."""
    kind = "bar strong" if strong else "bar"
    parts = [
        '<svg class="plot" width="100%" height="18" role="presentation">',
        '<rect class="track" x="0" y="4" width="100%" height="10" rx="2"/>',
        f'<rect class="{kind}" x="0" y="4" width="{_share(value, full)}" height="10" rx="2"/>',
    ]
    if interval is not None:
        low, high = (_share(bound, full) for bound in interval)
        parts.append(f'<line class="whisker" x1="{low}" x2="{high}" y1="9" y2="9"/>')
        parts += [f'<line class="whisker" x1="{x}" x2="{x}" y1="5.5" y2="12.5"/>' for x in (low, high)]
    return Markup("".join([*parts, "</svg>"]))


def curve(points: Sequence[tuple[float, float]]) -> Markup:
    """A line through (step, value) points, stretched over the plot's box; at most 400 points are drawn."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    stride = max(1, math.ceil(len(finite) / MAX_POINTS))
    drawn = finite[::stride]
    if finite and drawn[-1] != finite[-1]:
        drawn.append(finite[-1])
    path = " ".join(
        f"{'M' if i == 0 else 'L'}{x:.2f} {y:.2f}" for i, (x, y) in enumerate(_fit(drawn, width=100.0, height=100.0))
    )
    return Markup(
        '<svg class="plot curve" viewBox="0 0 100 100" preserveAspectRatio="none" role="presentation">'
        '<line class="axis" x1="0" x2="100" y1="100" y2="100"/>'
        f'<path class="line" d="{path}"/></svg>'
    )


def _fit(points: Sequence[tuple[float, float]], width: float, height: float) -> list[tuple[float, float]]:
    """Points in a box whose y grows downwards."""
    if not points:
        return []
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_range, y_range = (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0
    return [
        ((x - min(xs)) / x_range * width, height - (y - min(ys)) / y_range * (height - 4.0) - 2.0) for x, y in points
    ]


def _share(value: float, full: float) -> str:
    return f"{max(0.0, min(100.0, 100 * value / full)) if full > 0 else 0.0:.2f}%"
