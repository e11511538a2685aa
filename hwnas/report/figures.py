"""Pictures of the report: plotly figures in the style sheet's colours, each with its key and its data as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from hwnas.report.markup import Column, Html, table

ACCENT, NEUTRAL, FAINT, FRONT, BACK, CARD, KEPT, MISSED, MISSED_CARD, MISSED_FILL, RIGHT_FILL = (
    f"var(--{name})"
    for name in (
        *("accent", "neutral", "faint", "front", "back", "card"),
        *("kept", "missed", "missed-card", "missed-fill", "right-fill"),
    )
)
"""Colours by their names in the style sheet; the page puts in what they are, in light and in dark."""

SERIES = tuple(f"var(--series-{number})" for number in range(1, 7))
"""Colours of things that only differ."""

Shape = Literal["dot", "ring", "star", "cross", "diamond", "line", "dotted", "dashed", "area", "band"]

_SHAPES: dict[Shape, str] = {
    "dot": '<circle cx="8" cy="8" r="4.5" fill="currentColor"/>',
    "ring": '<circle cx="8" cy="8" r="4" fill="none" stroke="currentColor" stroke-width="2"/>',
    "star": '<path fill="currentColor" d="M8 1l2.1 4.7 5 .5-3.8 3.4 1.1 5L8 12l-4.4 2.6 1.1-5L.9 6.2l5-.5z"/>',
    "cross": '<path fill="none" stroke="currentColor" stroke-width="2.5" d="M3.5 3.5l9 9m0-9l-9 9"/>',
    "diamond": '<path fill="currentColor" d="M8 2l5 6-5 6-5-6z"/>',
    "line": '<path stroke="currentColor" stroke-width="2.5" d="M0 8h16"/>',
    "dotted": '<path stroke="currentColor" stroke-width="2.5" stroke-dasharray="2.5 2.5" d="M0 8h16"/>',
    "dashed": '<path stroke="currentColor" stroke-width="2" stroke-dasharray="4 3" d="M8 0v16"/>',
    "area": '<path fill="currentColor" opacity=".9" d="M2 2h12v12H2z"/>',
    "band": '<path fill="currentColor" opacity=".35" d="M0 3h16v10H0z"/>',
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """An entry of a picture's key: a shape in a colour, and what it stands for."""

    name: str
    colour: str
    shape: Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure, what it shows, and its data as a table for those who cannot see it.

    Attributes:
        text: what can be seen in it, in sentences.
        is_wide: whether it needs a page's whole width.
    """

    name: str
    title: str
    text: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    columns: tuple[Column, ...]
    rows: list[tuple[str, ...]]
    keys: tuple[Key, ...] = ()
    is_wide: bool = True

    def as_html(self) -> Html:
        """Return the place that the figure is drawn in, with its words, its key and its table."""
        kind = "picture" if self.is_wide else "picture half"
        size = "" if self.layout.get("height") is None else f' style="height:{self.layout["height"]}px"'
        return Html(
            f'<figure class="{kind}"><figcaption><h3>{escape(self.title)}</h3><p>{escape(self.text)}</p>'
            f"{_key(self.keys)}</figcaption>"
            f'<div class="figure" id="{self.name}"{size} role="img" '
            f'aria-label="{escape(f"{self.title}. {self.text} The table below has the numbers.")}"></div>'
            f'<details class="data" open><summary>As a table</summary>'
            f"{table(self.title, self.columns, self.rows, is_wide=True)}</details></figure>"
        )


def _key(keys: Sequence[Key]) -> str:
    if not keys:
        return ""
    entries = (
        f'<li><svg viewBox="0 0 16 16" aria-hidden="true" style="color:{key.colour}">{_SHAPES[key.shape]}</svg>'
        f"{escape(key.name)}</li>"
        for key in keys
    )
    return f'<ul class="key">{"".join(entries)}</ul>'


def axes(x: str, y: str, **more: Any) -> dict[str, Any]:
    """Return a layout with titles of both axes."""
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}, **more}


def whole_numbers(most: int) -> dict[str, Any]:
    """Return the ticks of an axis that counts from one to `most`: whole numbers, ten or so."""
    steps = (scale * step for scale in (10**power for power in range(10)) for step in (1, 2, 5))
    step = next(step for step in steps if most <= 10 * step)
    margin = max(0.5, 0.03 * most)
    return {"tick0": 0, "dtick": step, "tickformat": "d", "range": [1 - margin, most + margin], "zeroline": False}


def architecture_name(architecture: Sequence[int]) -> str:
    """Return the choices of an architecture as people write them."""
    return "-".join(map(str, architecture))


def budget_line(max_ms: float) -> dict[str, Any]:
    """Return the shape of a dashed line at a budget, from the bottom of a chart to its top."""
    line = {"color": NEUTRAL, "dash": "dash", "width": 1.5}
    return {
        "type": "line",
        "x0": max_ms,
        "x1": max_ms,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "layer": "below",
        "line": line,
    }
