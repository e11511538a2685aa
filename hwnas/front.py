"""The front of a run: score against latency."""

from __future__ import annotations

from pathlib import Path

from hwnas.errors import RequestError
from hwnas.run import Run
from hwnas.search import Evaluation, pareto_front
from hwnas.search.history import read_history
from lut.plot import save_picture


def load_history(run: Run) -> list[Evaluation]:
    """Return every evaluation of a run, searches of all budgets after one another, each network once.

    The search may be under way: nothing is written, and an evaluation that is being written is left out.

    Raises:
        RequestError: the run has not searched yet.
        RunError: its history is damaged.
    """
    paths = sorted((run.folder / "search").glob("history*.jsonl"))
    found: dict[tuple[int, ...], Evaluation] = {}
    for path in paths:
        for evaluation, is_complete in read_history(path):
            if is_complete or evaluation.architecture not in found:  # else an estimate
                found[evaluation.architecture] = evaluation
    if not found:
        raise RequestError(f"no search in {run.folder} yet; continue it with hwnas search --out {run.folder} --resume")
    return list(found.values())


def load_front(run: Run) -> list[Evaluation]:
    """Return the evaluations that no other beats in both score and latency, fastest first.

    Raises:
        RequestError: the run has not searched yet.
    """
    by_latency = [
        Evaluation(architecture=e.architecture, score=e.score, costs={"latency_ms": e.costs["latency_ms"]})
        for e in load_history(run)
    ]
    return pareto_front(by_latency)


def plot_front(run: Run, front: list[Evaluation], path: Path) -> None:
    """Write a picture of every evaluation, with the front drawn through.

    Raises:
        TableError: the picture cannot be of that kind, or its folder is not there.
        WriteError: there is no room for the picture, or nothing may be written there.
    """
    from matplotlib.figure import Figure

    history = load_history(run)
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(
        [e.costs["latency_ms"] for e in history],
        [100 * e.score for e in history],
        s=16,
        color="#b0b7c3",
        label=f"{len(history)} evaluated",
    )
    axes.step(
        [e.costs["latency_ms"] for e in front],
        [100 * e.score for e in front],
        where="post",
        marker="o",
        color="#1f6feb",
        label="front",
    )
    axes.set(xlabel="predicted latency, ms", ylabel="supernet score, %", title=str(run.spec))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_picture(figure, path)
