"""Charts as SVG in the page itself: no script draws them, and colours follow the page's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from hwnas.report.markup import Html

NUM_COLOURS = 6
"""Colours of series in the style sheet; further series have the first ones again, and letters of their own."""

MAX_POINTS = 1000
"""Points of a series that are drawn; of more an even selection is."""

MAX_NAMED = 60
"""Points that have their names beside them."""

SIZES = {"broad": (600, 380), "narrow": (345, 320)}
"""Width and height in pixels: text would become too small if one drawing were scaled for all screens."""

LEFT, RIGHT, TOP, BOTTOM = 46, 10, 52, 42

LETTER_WIDTH, LINE_HEIGHT = 7.4, 14
"""Pixels of the text beside marks."""

LARGEST = 1e15
"""Numbers beyond are not drawn: no latency and no score is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A point, what is said of it when it is pointed at, and what is written beside it."""

    x: float
    y: float
    text: str
    label: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Points of one colour.

    Attributes:
        colour: its number, from zero; None for what is in the background.
        mark: hollow for networks that miss their budgets.
        is_stepped: whether a line of steps runs through the points.
    """

    points: Sequence[Point]
    colour: int | None
    mark: Literal["dot", "large", "hollow", "cross"] = "dot"
    is_stepped: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """A latency budget: a line up and down."""

    x: float
    colour: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A chart to be drawn.

    Attributes:
        within: share around the diagonal that is shaded; both axes are alike then. None for no diagonal.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    limits: Sequence[Limit] = ()
    within: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def draw(chart: Chart) -> Html:
    """Return the chart for broad and for narrow screens, of which the page shows one; nothing without any point."""
    if not any(_drawn(series) for series in chart.series):
        return Html("")
    return Html("".join(_svg(chart, name, *size) for name, size in SIZES.items()))


def _svg(chart: Chart, name: str, width: int, height: int) -> str:
    points = [point for series in chart.series for point in _drawn(series)]
    xs, ys = [p.x for p in points] + [line.x for line in chart.limits if _is_drawn(line.x)], [p.y for p in points]
    if chart.within is not None:
        xs = ys = [0.0, *xs, *ys]
    x = _axis(xs, LEFT, width - RIGHT, 5 if name == "narrow" else 6)
    y = _axis(ys, height - BOTTOM, TOP, 5)
    parts = [
        f'<svg class="chart {name}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(chart.title)}">',
        *_grid(x, y),
        *([] if chart.within is None else _band(chart.within, x, y)),
        *_limits(chart.limits, x, y),
        *(part for series in chart.series for part in _series(series, x, y)),
        *_labels(chart.series, x, y),
        f'<text class="axis" x="{(x.start + x.end) / 2:g}" y="{height - 6}" text-anchor="middle">'
        f"{escape(chart.x_label)}</text>",
        f'<text class="axis" x="2" y="12">{escape(chart.y_label)}</text>',
        "</svg>",
    ]
    return "".join(parts)


def _axis(values: Sequence[float], start: float, end: float, num_ticks: int) -> _Axis:
    from matplotlib.ticker import MaxNLocator

    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = (0.0 if low == 0 else low - margin), high + margin
    ticks = MaxNLocator(nbins=num_ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    inside = tuple(float(tick) for tick in ticks if low <= tick <= high)
    return _Axis(low=low, high=high, start=start, end=end, ticks=inside)


def _grid(x: _Axis, y: _Axis) -> Iterable[str]:
    for tick in y.ticks:
        place = y.place(tick)
        yield f'<line class="grid" x1="{x.start:g}" x2="{x.end:g}" y1="{place:.1f}" y2="{place:.1f}"/>'
        yield f'<text class="tick" x="{x.start - 6:g}" y="{place + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
    for tick in x.ticks:
        place = x.place(tick)
        yield f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{y.start:g}" y2="{y.end:g}"/>'
        yield f'<text class="tick" x="{place:.1f}" y="{y.start + 16:g}" text-anchor="middle">{_number(tick)}</text>'


def _band(share: float, x: _Axis, y: _Axis) -> Iterable[str]:
    end = min(x.high, y.high) / (1 + share)
    corners = [(0.0, 0.0), (end, end * (1 + share)), (end, end * (1 - share))]
    places = " ".join(f"{x.place(a):.1f},{y.place(b):.1f}" for a, b in corners)
    yield f'<polygon class="band" points="{places}"/>'
    places = f'x1="{x.place(0):.1f}" y1="{y.place(0):.1f}" x2="{x.place(end):.1f}" y2="{y.place(end):.1f}"'
    yield f'<line class="diagonal" {places}/>'


def _limits(limits: Sequence[Limit], x: _Axis, y: _Axis) -> Iterable[str]:
    """Yield budget lines, each named above the plot where there is room for it."""
    drawn = sorted((limit for limit in limits if _is_drawn(limit.x)), key=lambda limit: limit.x)
    rows = [-math.inf, -math.inf]  # where the last name in each of two rows ends
    for limit in drawn:
        place, kind = x.place(limit.x), _colour(limit.colour)
        yield f'<line class="limit {kind}" x1="{place:.1f}" x2="{place:.1f}" y1="{y.start:g}" y2="{y.end - 4:g}">'
        yield f"<title>{escape(limit.text)}</title></line>"
        width = LETTER_WIDTH * len(limit.text)
        start = min(max(place - width / 2, x.start), x.end - width)
        row = next((number for number, end in enumerate(rows) if start > end + 6), None)
        if row is not None:
            rows[row] = start + width
            yield f'<text class="mark-label {kind}" x="{start:.1f}" y="{y.end - 9 - LINE_HEIGHT * row:g}">'
            yield f"{escape(limit.text)}</text>"


def _series(series: Series, x: _Axis, y: _Axis) -> Iterable[str]:
    points, kind = _drawn(series), _colour(series.colour)
    if series.is_stepped and len(points) > 1:
        ordered = sorted(points, key=lambda point: point.x)
        path = f"M{x.place(ordered[0].x):.1f} {y.place(ordered[0].y):.1f}"
        path += "".join(f"H{x.place(p.x):.1f}V{y.place(p.y):.1f}" for p in ordered[1:])
        yield f'<path class="step {kind}" d="{path}"/>'
    for point in points:
        a, b = x.place(point.x), y.place(point.y)
        title = f"<title>{escape(point.text)}</title>"
        if series.mark == "cross":
            yield f'<path class="cross {kind}" d="M{a - 4:.1f} {b - 4:.1f}l8 8m0 -8l-8 8">{title}</path>'
        else:
            radius = {"dot": 3.5, "large": 7, "hollow": 6}[series.mark]
            yield f'<circle class="{series.mark} {kind}" cx="{a:.1f}" cy="{b:.1f}" r="{radius}">{title}</circle>'


def _labels(all_series: Sequence[Series], x: _Axis, y: _Axis) -> Iterable[str]:
    """Yield the names beside points, each where it hides no mark and no other name, if there is such a place."""
    named = [(point, series.colour) for series in all_series for point in _drawn(series) if point.label][:MAX_NAMED]
    taken = [(x.place(point.x) - 8, y.place(point.y) - 8, 16.0, 16.0) for point, _ in named]
    for point, colour in named:
        width, a, b = LETTER_WIDTH * len(point.label), x.place(point.x), y.place(point.y)
        corners = ((a + 10, b - 7), (a - 10 - width, b - 7), (a - width / 2, b - 24), (a - width / 2, b + 10))
        inside = [c for c in corners if x.start <= c[0] <= x.end - width and y.end - 4 <= c[1] <= y.start - LINE_HEIGHT]
        free = [c for c in inside if not any(_overlap((*c, width, LINE_HEIGHT), box) for box in taken)]
        left, top = [*free, *inside, *corners][0]
        taken.append((left, top, width, LINE_HEIGHT))
        place = f'x="{left:.1f}" y="{top + 11:.1f}"'
        yield f'<text class="mark-label {_colour(colour)}" {place}>{escape(point.label)}</text>'


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Return whether two boxes overlap, each given by left, top, width and height."""
    return all(one[i] < other[i] + other[i + 2] and other[i] < one[i] + one[i + 2] for i in (0, 1))


def _drawn(series: Series) -> list[Point]:
    points = [point for point in series.points if _is_drawn(point.x) and _is_drawn(point.y)]
    return points[:: math.ceil(len(points) / MAX_POINTS)] if points else []


def _is_drawn(value: float) -> bool:
    return math.isfinite(value) and abs(value) < LARGEST


def _colour(number: int | None) -> str:
    return "faint" if number is None else f"c{number % NUM_COLOURS + 1}"


def _number(value: float) -> str:
    return f"{value:.10g}" if value else "0"
