"""The report's pictures as plotly figures, each with the table that says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from hwnas.artifacts import WINNER, Summary
from hwnas.quantities import ms_column
from hwnas.report.along import SlicedLayer
from hwnas.report.facts import Facts
from hwnas.search import Evaluation
from hwnas.training.trainer import EpochRecord, best_epoch
from search_spaces import SearchSpace

BLUE, GREY, GREEN, ORANGE, PURPLE = "#2f81f7", "#8b949e", "#2da44e", "#d9730d", "#8957e5"

_FAINT = {"color": GREY, "size": 7, "opacity": 0.6}
_STEPS = {"shape": "hv", "color": BLUE}


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure, what it shows, and its data as a table for those who cannot see it."""

    name: str
    title: str
    text: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def pictures(facts: Facts) -> list[Picture]:
    """Return those that there are data for."""
    makers = (_layers, _parts, _front, _progress, _predictions, _blocks, _curves)
    return [picture for maker in makers if (picture := maker(facts)) is not None]


def _layers(facts: Facts) -> Picture | None:
    if not facts.layers:
        return None
    names, whole = [row.name for row in facts.layers], [row.before for row in facts.layers]
    left_out = [row for row in facts.layers if row.is_left_out]
    data = [*_before_and_after(names, whole, [row.after for row in facts.layers], "channels")]
    if left_out:
        data.append(
            {
                "x": [row.name for row in left_out],
                "y": [row.before / 2 for row in left_out],
                "type": "scatter",
                "mode": "markers",
                "name": "left out",
                "marker": {"symbol": "x", "color": ORANGE, "size": 10},
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
        columns=("layer", "operator", "channels before", "after", "MACs before", "after", "kept"),
        rows=[_layer_row(row) for row in facts.layers],
    )


def _layer_row(row: SlicedLayer) -> tuple[str, ...]:
    after = "left out" if row.is_left_out else f"{row.after:,}"
    kept = f"{row.macs_after / row.macs_before:.0%}"
    return row.name, row.kind, f"{row.before:,}", after, f"{row.macs_before:,}", f"{row.macs_after:,}", kept


def _parts(facts: Facts) -> Picture | None:
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
        columns=("part", "ms before", "after", "saved"),
        rows=[
            (p.name, f"{p.before_ms:.4g}", f"{p.after_ms:.4g}", f"{p.before_ms - p.after_ms:.4g}") for p in facts.parts
        ],
    )


def _along(y: str) -> dict[str, Any]:
    """Return the layout of bars along a network."""
    axis = {"type": "category", "automargin": True, "tickangle": -60}
    legend = {"y": 1.12}  # below would be the names
    return {"barmode": "overlay", "bargap": 0.15, "xaxis": axis, "yaxis": {"title": {"text": y}}, "legend": legend}


def _before_and_after(
    names: list[str], before: Sequence[float], after: Sequence[float], unit: str
) -> list[dict[str, Any]]:
    """Return bars of a winner before those of the network that it is a slice of."""
    bars = (("original", before, GREY, 0.45), ("winner", after, BLUE, 0.9))
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


def _axes(x: str, y: str, **more: Any) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}, **more}


def _name(architecture: Sequence[int]) -> str:
    return "-".join(map(str, architecture))


def _front(facts: Facts) -> Picture | None:
    if not facts.history:
        return None
    space = facts.subject.space
    data = [
        _points(space, facts.history, mode="markers", name="evaluated", marker=_FAINT),
        _points(
            space, facts.front, mode="lines+markers", name="front", line=_STEPS, marker={"color": BLUE, "size": 10}
        ),
    ]
    ms = ms_column(facts.subject.percentile)
    layout = _axes(f"predicted latency, {ms}", "supernet score, %")
    if facts.summary is not None:
        data.append(_winner(facts.summary))
        if (max_ms := facts.summary.max_latency_ms) is not None:
            layout["shapes"] = [_budget_line(max_ms)]
    return Picture(
        name="front",
        title="Accuracy against latency",
        text="Every network that was evaluated, and those that no other beats in both. Click one to see its layers.",
        data=data,
        layout=layout,
        columns=(f"predicted {ms}", "score", "architecture"),
        rows=[(f"{e.costs['latency_ms']:.4g}", f"{e.score:.2%}", _name(e.architecture)) for e in facts.front],
    )


def _points(space: SearchSpace, evaluations: Sequence[Evaluation], **more: Any) -> dict[str, Any]:
    return {
        "x": [e.costs["latency_ms"] for e in evaluations],
        "y": [100 * e.score for e in evaluations],
        "customdata": [list(space.describe(e.architecture)) for e in evaluations],
        "text": [_name(e.architecture) for e in evaluations],
        "hovertemplate": "%{text}<br>%{x:.4g} ms, %{y:.2f} %<extra></extra>",
        "type": "scatter",
        **more,
    }


def _winner(winner: Summary) -> dict[str, Any]:
    return {
        "x": [winner.predicted_ms],
        "y": [100 * winner.supernet_score],
        "customdata": [winner.choices],
        "text": [_name(winner.architecture)],
        "hovertemplate": "winner %{text}<br>%{x:.4g} ms, %{y:.2f} %<extra></extra>",
        "type": "scatter",
        "mode": "markers",
        "name": WINNER,
        "marker": {"color": ORANGE, "size": 15, "symbol": "star"},
    }


def _budget_line(max_ms: float) -> dict[str, Any]:
    return {
        "type": "line",
        "x0": max_ms,
        "x1": max_ms,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": ORANGE, "dash": "dash"},
    }


def _progress(facts: Facts) -> Picture | None:
    if not facts.history:
        return None
    scores = np.array([100 * e.score for e in facts.history])
    best = np.maximum.accumulate(scores)
    steps = [i for i in range(len(best)) if i == 0 or best[i] > best[i - 1]]
    numbers = list(range(1, len(scores) + 1))
    return Picture(
        name="progress",
        title="Search",
        text="Score of each evaluated network in order, and the best so far.",
        data=[
            {
                "x": numbers,
                "y": scores.tolist(),
                "type": "scatter",
                "mode": "markers",
                "name": "evaluated",
                "marker": {"color": GREY, "size": 6},
            },
            {
                "x": numbers,
                "y": best.tolist(),
                "type": "scatter",
                "mode": "lines",
                "name": "best so far",
                "line": {"color": BLUE, "shape": "hv"},
            },
        ],
        layout=_axes("evaluation", "supernet score, %"),
        columns=("evaluation", "best so far"),
        rows=[(str(i + 1), f"{best[i]:.2f} %") for i in steps],
    )


def _predictions(facts: Facts) -> Picture | None:
    if not facts.networks:
        return None
    names = {"held_out": ("held out", BLUE), "calibration": ("used for calibration", GREY)}
    data: list[dict[str, Any]] = [
        {
            "x": [m for m, _ in pairs],
            "y": [p for _, p in pairs],
            "type": "scatter",
            "mode": "markers",
            "name": names[role][0],
            "marker": {"color": names[role][1], "size": 8},
            "hovertemplate": "measured %{x:.4g} ms<br>predicted %{y:.4g} ms<extra></extra>",
        }
        for role, pairs in facts.networks.items()
    ]
    data.append(_within_5pct(max(max(pair) for pairs in facts.networks.values() for pair in pairs)))
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
        layout=_axes("measured, ms", "predicted, ms"),
        columns=("role", "measured ms", "predicted ms", "error"),
        rows=[
            (names[role][0], f"{m:.4g}", f"{p:.4g}", f"{p / m - 1:+.1%}")
            for role, pairs in facts.networks.items()
            for m, p in pairs
        ],
    )


def _within_5pct(largest_ms: float) -> dict[str, Any]:
    largest = 1.05 * largest_ms
    return {
        "x": [0, largest, largest, 0],
        "y": [0, 1.05 * largest, 0.95 * largest, 0],
        "type": "scatter",
        "mode": "lines",
        "fill": "toself",
        "fillcolor": "rgba(45,164,78,0.18)",
        "line": {"width": 0},
        "name": "within 5 %",
        "hoverinfo": "skip",
    }


def _blocks(facts: Facts) -> Picture | None:
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
                "colorscale": "Viridis",
                "colorbar": {"title": {"text": "ms"}, "thickness": 12},
                "hovertemplate": "%{x}, %{y}<br>%{z:.4g} ms<extra></extra>",
            }
        ],
        layout={"yaxis": {"automargin": True}, "xaxis": {"automargin": True}},
        columns=("layer", *choices),
        rows=[
            (d.name, *("" if v is None else f"{v:.4g}" for v in row)) for d, row in zip(decisions, grid, strict=True)
        ],
    )


def _curves(facts: Facts) -> Picture | None:
    if not facts.curves:
        return None
    scored = {name: rows for name, rows in facts.curves.items() if any(row.score is not None for row in rows)}
    text = "Loss by epoch, of the supernet and of the networks trained on their own."
    layout = _axes("epoch", "loss")
    if scored:
        text += " Dotted: the score on the images set aside to choose the best epoch."
        layout["yaxis2"] = {"title": {"text": "score, %"}, "overlaying": "y", "side": "right", "showgrid": False}
        layout["yaxis2"] |= {"automargin": True, "tickformat": ".3~g"}
    colours = dict(zip(facts.curves, cycle((BLUE, ORANGE, GREEN, PURPLE, GREY)), strict=False))
    losses = [
        _curve(name, rows, [row.loss for row in rows], line={"color": colours[name]})
        for name, rows in facts.curves.items()
    ]
    scores = [
        _curve(
            f"{name}, score",
            rows,
            [100 * (row.score or 0.0) for row in rows],
            line={"color": colours[name], "dash": "dot"},
            yaxis="y2",
        )
        for name, rows in scored.items()
    ]
    return Picture(
        name="curves",
        title="Training",
        text=text,
        data=losses + scores,
        layout=layout,
        columns=("training", "epochs", "first loss", "last loss", "epoch kept", "images/s"),
        rows=[_curve_row(name, rows) for name, rows in facts.curves.items() if rows],
    )


def _curve(name: str, rows: Sequence[EpochRecord], y: list[float], **more: Any) -> dict[str, Any]:
    return {"x": [r.epoch + 1 for r in rows], "y": y, "type": "scatter", "mode": "lines", "name": name, **more}


def _curve_row(name: str, rows: Sequence[EpochRecord]) -> tuple[str, ...]:
    kept = best_epoch(rows)
    assert kept is not None
    score = "" if kept.score is None else f", {kept.score:.2%}"
    speed = np.median([row.images_per_s for row in rows])
    losses = (f"{rows[0].loss:.4f}", f"{rows[-1].loss:.4f}")
    return name, str(len(rows)), *losses, f"{kept.epoch + 1}{score}", f"{speed:.0f}"
