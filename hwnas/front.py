"""The front of a run: score against latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwnas.constraint import latencies
from hwnas.quantities import MEDIAN, ms_column
from hwnas.search import Evaluation, pareto_front
from lut.plot import save_picture


def latency_front(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations that no other beats in both score and latency, fastest first."""
    return pareto_front(
        [
            Evaluation(architecture=e.architecture, score=e.score, costs={"latency_ms": e.costs["latency_ms"]})
            for e in evaluations
        ]
    )


def fleet_front(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations that no other beats in score and in every latency of a fleet, fastest first.

    Of a run for one device it is the front of score and latency.
    """
    return pareto_front(
        [Evaluation(architecture=e.architecture, score=e.score, costs=latencies(e.costs)) for e in evaluations]
    )


def plot_front(
    title: str,
    evaluations: Sequence[Evaluation],
    front: Sequence[Evaluation],
    path: Path,
    *,
    percentile: int = MEDIAN,
) -> None:
    """Write a picture of every evaluation, with the front drawn through.

    Args:
        percentile: that latencies are.

    Raises:
        TableError: the picture cannot be of that kind, or its folder is not there.
        WriteError: there is no room for the picture, or nothing may be written there.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(
        [e.costs["latency_ms"] for e in evaluations],
        [100 * e.score for e in evaluations],
        s=16,
        color="#b0b7c3",
        label=f"{len(evaluations)} evaluated",
    )
    axes.step(
        [e.costs["latency_ms"] for e in front],
        [100 * e.score for e in front],
        where="post",
        marker="o",
        color="#1f6feb",
        label="front",
    )
    axes.set(xlabel=f"predicted latency, {ms_column(percentile)}", ylabel="supernet score, %", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_picture(figure, path)
