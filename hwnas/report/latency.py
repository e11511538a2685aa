"""Pictures of the latency table: how well it predicts whole networks, and what blocks take."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.report.facts import Facts
from hwnas.report.figures import ACCENT, CARD, FAINT, KEPT, Key, Picture, axes
from hwnas.report.markup import Column

_ROLES = {"held_out": ("held out", ACCENT), "calibration": ("used for calibration", FAINT)}


def predictions(facts: Facts) -> Picture | None:
    """Return the picture of predicted against measured latencies; None where no networks were measured."""
    if not facts.networks:
        return None
    data = [_within_5pct([ms for pairs in facts.networks.values() for pair in pairs for ms in pair])]
    data += [
        {
            "x": [m for m, _ in pairs],
            "y": [p for _, p in pairs],
            "type": "scatter",
            "mode": "markers",
            "name": _ROLES[role][0],
            "marker": {"color": _ROLES[role][1], "size": 8},
            "hovertemplate": "measured %{x:.4g} ms<br>predicted %{y:.4g} ms<extra></extra>",
        }
        for role, pairs in reversed(facts.networks.items())
    ]
    certificate = facts.table.certificate if facts.table else None
    words = (
        ""
        if certificate is None
        else (
            f" {certificate.num_networks} held-out networks: mean error {certificate.mape:.1%}, "
            f"{certificate.within_5pct:.0%} within 5 %, Kendall tau {certificate.kendall_tau:.2f}."
        )
    )
    return Picture(
        name="predictions",
        title="Predicted against measured latency",
        text="Whole networks that the latency table was not made from say how far its predictions are off." + words,
        data=data,
        layout=axes("measured, ms", "predicted, ms"),
        columns=(
            Column(name="role", is_text=True),
            *(Column(name=name) for name in ("measured ms", "predicted ms", "error")),
        ),
        rows=[
            (_ROLES[role][0], f"{m:.4g}", f"{p:.4g}", f"{p / m - 1:+.1%}")
            for role, pairs in facts.networks.items()
            for m, p in pairs
        ],
        keys=(
            *(Key(name=_ROLES[role][0], colour=_ROLES[role][1], shape="dot") for role in facts.networks),
            Key(name="within 5 %", colour=KEPT, shape="band"),
        ),
    )


def _within_5pct(ms: list[float]) -> dict[str, Any]:
    """Return the band of predictions that are off by 5 % at most, a little longer than the latencies."""
    low, high = 0.95 * min(ms), 1.05 * max(ms)
    return {
        "x": [low, high, high, low],
        "y": [1.05 * low, 1.05 * high, 0.95 * high, 0.95 * low],
        "type": "scatter",
        "mode": "lines",
        "fill": "toself",
        "fillcolor": KEPT,
        "opacity": 0.25,
        "line": {"width": 0, "color": KEPT},
        "name": "within 5 %",
        "hoverinfo": "skip",
    }


def blocks(facts: Facts) -> Picture | None:
    """Return the picture of what each choice takes in each layer; None where choices are no blocks."""
    if not facts.block_ms:
        return None
    decisions = facts.subject.space.decisions
    choices = max((d.choices for d in decisions), key=len)
    grid = [[*row, *[None] * (len(choices) - len(row))] for row in facts.block_ms]
    return Picture(
        name="blocks",
        title="Latency of blocks",
        text="What each choice takes in each layer, measured alone, in milliseconds.",
        data=[
            {
                "z": np.array(grid, dtype=object).T.tolist(),
                "x": [d.name for d in decisions],
                "y": list(choices),
                "type": "heatmap",
                "colorscale": [[0, CARD], [1, ACCENT]],
                "xgap": 1,
                "ygap": 1,
                "colorbar": {"title": {"text": "ms"}, "thickness": 12},
                "hovertemplate": "%{x}, %{y}<br>%{z:.4g} ms<extra></extra>",
            }
        ],
        layout={"yaxis": {"automargin": True}, "xaxis": {"automargin": True}},
        columns=(Column(name="layer", is_text=True), *(Column(name=name) for name in choices)),
        rows=[
            (d.name, *("" if v is None else f"{v:.4g}" for v in row)) for d, row in zip(decisions, grid, strict=True)
        ],
    )
