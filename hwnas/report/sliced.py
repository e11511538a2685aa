"""Pictures of a network that somebody brought, beside the winner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwnas.report.along import SlicedLayer
from hwnas.report.facts import Facts
from hwnas.report.figures import ACCENT, FAINT, MISSED, Key, Picture
from hwnas.report.markup import Column

_KEYS = (Key(name="as it was brought", colour=FAINT, shape="area"), Key(name="winner", colour=ACCENT, shape="area"))


def layers(facts: Facts) -> Picture | None:
    """Return the picture of the channels of each layer; None where the winner is no slice of a network."""
    if not facts.layers:
        return None
    names, whole = [row.name for row in facts.layers], [row.before for row in facts.layers]
    left_out = [row for row in facts.layers if row.is_left_out]
    data = _before_and_after(names, whole, [row.after for row in facts.layers], "channels")
    if left_out:
        data.append(
            {
                "x": [row.name for row in left_out],
                "y": [row.before / 2 for row in left_out],
                "type": "scatter",
                "mode": "markers",
                "name": "left out",
                "marker": {"symbol": "x", "color": MISSED, "size": 10},
                "hovertemplate": "%{x}: left out<extra></extra>",
            }
        )
    macs = [sum(values) for values in zip(*((row.macs_before, row.macs_after) for row in facts.layers), strict=True)]
    return Picture(
        name="layers",
        title="What became of the network",
        text=f"Channels of each layer as it was brought and in the winner, from the first to the last. The winner has "
        f"{macs[1] / macs[0]:.0%} of its multiply-accumulates.",
        data=data,
        layout=_along("channels"),
        columns=(
            Column(name="layer", is_text=True),
            Column(name="operator", is_text=True),
            *(Column(name=name) for name in ("channels before", "after", "MACs before", "after", "kept")),
        ),
        rows=[_layer_row(row) for row in facts.layers],
        keys=(*_KEYS, *([Key(name="left out", colour=MISSED, shape="cross")] if left_out else [])),
    )


def _layer_row(row: SlicedLayer) -> tuple[str, ...]:
    after = "left out" if row.is_left_out else f"{row.after:,}"
    kept = f"{row.macs_after / row.macs_before:.0%}"
    return row.name, row.kind, f"{row.before:,}", after, f"{row.macs_before:,}", f"{row.macs_after:,}", kept


def parts(facts: Facts) -> Picture | None:
    """Return the picture of the latency of each part; None where there is nothing to compare."""
    if not facts.parts:
        return None
    names, before, after = zip(*((p.name, p.before_ms, p.after_ms) for p in facts.parts), strict=True)
    return Picture(
        name="parts",
        title="Latency of its parts",
        text=f"What each part takes by the table, measured alone, as it was brought and in the winner: "
        f"{sum(before):.4g} and {sum(after):.4g} ms in all. In a network they take somewhat less together.",
        data=_before_and_after(list(names), list(before), list(after), "ms"),
        layout=_along("ms"),
        columns=(Column(name="part", is_text=True), *(Column(name=name) for name in ("ms before", "after", "saved"))),
        rows=[
            (p.name, f"{p.before_ms:.4g}", f"{p.after_ms:.4g}", f"{p.before_ms - p.after_ms:.4g}") for p in facts.parts
        ],
        keys=_KEYS,
    )


def _along(y: str) -> dict[str, Any]:
    """Return the layout of bars along a network."""
    axis = {"type": "category", "automargin": True, "tickangle": -60}
    return {"barmode": "overlay", "bargap": 0.15, "xaxis": axis, "yaxis": {"title": {"text": y}}}


def _before_and_after(
    names: list[str], before: Sequence[float], after: Sequence[float], unit: str
) -> list[dict[str, Any]]:
    """Return bars of a winner before those of the network that it is a slice of."""
    bars = (("original", before, FAINT, 0.6), ("winner", after, ACCENT, 0.9))
    return [
        {
            "x": names,
            "y": list(values),
            "type": "bar",
            "name": name,
            "marker": {"color": colour},
            "opacity": opacity,
            "hovertemplate": f"%{{x}}<br>{name} %{{y:.4g}} {unit}<extra></extra>",
        }
        for name, values, colour, opacity in bars
    ]
