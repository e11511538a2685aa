"""Pictures of the search: the networks that it evaluated, and how it got better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas.artifacts import WINNER, NetworkSummary
from hwnas.quantities import ms_column
from hwnas.report.facts import Facts
from hwnas.report.figures import (
    ACCENT,
    BACK,
    FAINT,
    MISSED,
    NEUTRAL,
    Key,
    Picture,
    architecture_name,
    axes,
    budget_line,
    whole_numbers,
)
from hwnas.report.markup import Column
from hwnas.search import Evaluation
from search_spaces import SearchSpace

_EVALUATED = Key(name="evaluated", colour=FAINT, shape="dot")


def front(facts: Facts) -> Picture | None:
    """Return the picture of every network that was evaluated; None before the search."""
    if not facts.history:
        return None
    space, ms = facts.subject.space, ms_column(facts.subject.percentile)
    front_style = {"line": {"shape": "hv", "color": ACCENT}, "marker": {"color": ACCENT, "size": 6}}
    data = [
        _points(space, facts.history, mode="markers", name="evaluated", marker={"color": FAINT, "size": 7}),
        _points(space, facts.front, mode="lines+markers", name="front", **front_style),
    ]
    keys = [_EVALUATED, Key(name="front: no other is both better and faster", colour=ACCENT, shape="line")]
    layout = axes(f"predicted latency, {ms}", "supernet score, %")
    if facts.summary is not None:
        winners = {WINNER: facts.summary, **facts.summary.winners}
        kept = {name: network for name, network in winners.items() if network.budget_kept is not False}
        missed = {name: network for name, network in winners.items() if name not in kept}
        if missed:
            data.append(_winners(missed, MISSED, "x"))
            keys.append(Key(name="winner that misses its budget", colour=MISSED, shape="cross"))
        if kept:
            data.append(_winners(kept, ACCENT, "star"))
            keys.append(Key(name="winner" if len(kept) == 1 else "winners", colour=ACCENT, shape="star"))
        budgets = sorted({n.max_latency_ms for n in winners.values() if n.max_latency_ms is not None})
        layout["shapes"] = [budget_line(max_ms) for max_ms in budgets]
        if budgets:
            keys.append(Key(name="budget" if len(budgets) == 1 else "budgets", colour=NEUTRAL, shape="dashed"))
    return Picture(
        name="front",
        title="What the search looked at",
        text="Every network that was evaluated, by what the supernet says of it and the latency table predicts: both "
        "are estimates, made to choose by." + ("" if facts.summary is None else " Click a point to see its layers."),
        data=data,
        layout=layout,
        columns=(
            Column(name=f"predicted {ms}"),
            Column(name="supernet score"),
            Column(name="architecture", is_text=True),
        ),
        rows=[
            (f"{e.costs['latency_ms']:.4g}", f"{e.score:.2%}", architecture_name(e.architecture)) for e in facts.front
        ],
        keys=tuple(keys),
    )


def _points(space: SearchSpace, evaluations: Sequence[Evaluation], **more: Any) -> dict[str, Any]:
    return {
        "x": [e.costs["latency_ms"] for e in evaluations],
        "y": [100 * e.score for e in evaluations],
        "customdata": [list(space.describe(e.architecture)) for e in evaluations],
        "text": [architecture_name(e.architecture) for e in evaluations],
        "hovertemplate": "%{text}<br>%{x:.4g} ms, %{y:.2f} %<extra></extra>",
        "type": "scatter",
        **more,
    }


def _winners(winners: dict[str, NetworkSummary], colour: str, symbol: str) -> dict[str, Any]:
    return {
        "x": [n.predicted_ms for n in winners.values()],
        "y": [100 * n.supernet_score for n in winners.values()],
        "customdata": [list(n.choices) for n in winners.values()],
        "text": [architecture_name(n.architecture) for n in winners.values()],
        "hovertext": [*winners],
        "hovertemplate": "%{hovertext} %{text}<br>%{x:.4g} ms, %{y:.2f} %<extra></extra>",
        "type": "scatter",
        "mode": "markers",
        "name": WINNER,
        "marker": {"color": colour, "size": 16, "symbol": symbol, "line": {"color": BACK, "width": 1.5}},
    }


def progress(facts: Facts) -> Picture | None:
    """Return the picture of the scores in order; None before the search."""
    if not facts.history:
        return None
    scores = np.array([100 * e.score for e in facts.history])
    best = np.maximum.accumulate(scores)
    steps = [i for i in range(len(best)) if i == 0 or best[i] > best[i - 1]]
    numbers = list(range(1, len(scores) + 1))
    common = {"x": numbers, "type": "scatter"}
    layout = axes("evaluation", "supernet score, %")
    layout["xaxis"] |= whole_numbers(len(numbers))
    return Picture(
        name="progress",
        title="How the search got better",
        text="The supernet score of each network in the order of evaluation, and the best so far.",
        data=[
            {
                **common,
                "y": scores.tolist(),
                "mode": "markers",
                "name": "evaluated",
                "marker": {"color": FAINT, "size": 6},
            },
            {
                **common,
                "y": best.tolist(),
                "mode": "lines",
                "name": "best so far",
                "line": {"color": ACCENT, "shape": "hv"},
            },
        ],
        layout=layout,
        columns=(Column(name="evaluation"), Column(name="best so far")),
        rows=[(str(i + 1), f"{best[i]:.2f} %") for i in steps],
        keys=(_EVALUATED, Key(name="best so far", colour=ACCENT, shape="line")),
    )
