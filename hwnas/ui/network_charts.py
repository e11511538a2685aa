"""The charts of runs: networks as they were trained and measured, and what searches found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hwnas.artifacts import WINNER, NetworkSummary
from hwnas.errors import RunError
from hwnas.quantities import budget_text, ms_column
from hwnas.report.markup import Html, note
from hwnas.search import Evaluation
from hwnas.ui.chart import Chart, Limit, Point, Series
from hwnas.ui.run_entry import RunEntry
from hwnas.ui.shell import CROSS, HOLLOW, LARGE, LIMIT, STEP, figure, legend
from safe_files import FileError

Fronts = Mapping[str, Sequence[Evaluation]]

_KEPT = {True: "keeps its budget", False: "misses its budget", None: "keeps its budget by prediction"}


def trained_figure(entries: Mapping[str, RunEntry]) -> Html:
    """Return test scores over measured latencies of the trained networks of runs, with the budgets of winners.

    Args:
        entries: by the letter that stands for the run; by nothing where there is one, whose winners have colours then.
    """
    finished = {letter: entry for letter, entry in entries.items() if entry.networks}
    metrics = {entry.networks[WINNER].metric for entry in finished.values()}
    metric = metrics.pop() if len(metrics) == 1 else "score"
    series = [one for number, (letter, entry) in enumerate(entries.items()) for one in _trained(letter, number, entry)]
    chart = Chart(
        title=f"Test {metric} against measured latency",
        x_label=f"measured latency, {_ms(finished.values())}",
        y_label=f"test {metric}, %",
        series=series,
        limits=_budgets(entries),
    )
    marks = [(LARGE, "winner"), (HOLLOW, "winner that misses its budget"), (CROSS, "reference"), (LIMIT, "budget")]
    has_missed = any(one.mark == "hollow" for one in series)
    shown = [pair for pair in marks if has_missed or pair[0] != HOLLOW]
    return figure(chart, "Each network was trained alone, exported, and measured on the device.", legend(shown))


def _ms(entries: Iterable[RunEntry]) -> str:
    percentiles = {network.percentile for entry in entries for network in entry.networks.values()}
    return ms_column(percentiles.pop()) if len(percentiles) == 1 else "ms"


def _winners(entry: RunEntry) -> dict[str, NetworkSummary]:
    summary = entry.records.summary
    return {} if summary is None else {WINNER: summary, **summary.winners}


def _colours(letter: str, number: int, entry: RunEntry) -> dict[str, int]:
    """Return the colours of winners: the run's, or each its own where there is one run; the same network has one."""
    if letter:
        return dict.fromkeys(_winners(entry), number)
    same = {} if entry.records.summary is None else entry.records.summary.duplicates
    distinct = [name for name in _winners(entry) if name not in same]
    return {name: distinct.index(same.get(name, name)) for name in _winners(entry)}


def _trained(letter: str, number: int, entry: RunEntry) -> Iterator[Series]:
    """Yield a series for each distinct winner, and one for the references."""
    if (summary := entry.records.summary) is None:
        return
    winners, colours = _winners(entry), _colours(letter, number, entry)
    for name, network in winners.items():
        if name not in summary.duplicates:
            yield Series(
                points=_points({name: network}, letter or name, entry),
                colour=colours[name],
                mark="hollow" if network.budget_kept is False else "large",
            )
    others = {name: n for name, n in entry.networks.items() if name not in winners and name not in summary.duplicates}
    yield Series(points=_points(others, None if letter else "", entry), colour=number if letter else None, mark="cross")


def _points(networks: Mapping[str, NetworkSummary], label: str | None, entry: RunEntry) -> list[Point]:
    """Return the points of measured networks.

    Args:
        label: written beside them; each one's name where it is empty, nothing where it is None.
    """
    return [
        Point(
            x=network.measured_ms,
            y=100 * network.test_accuracy,
            text=f"{entry.key}, {name}: {network.test_accuracy:.2%} at {network.measured_ms:.4g} ms"
            + (f", {_KEPT[network.budget_kept]}" if network.max_latency_ms is not None else ""),
            label="" if label is None else label or name,
        )
        for name, network in networks.items()
        if network.measured_ms is not None
    ]


def _budgets(entries: Mapping[str, RunEntry]) -> list[Limit]:
    """Return the budgets of winners; one that several runs have is named after all of them."""
    owners: dict[float, dict[str, int]] = {}
    for number, (letter, entry) in enumerate(entries.items()):
        colours = _colours(letter, number, entry)
        for name, network in _winners(entry).items():
            if network.max_latency_ms is not None:
                owners.setdefault(network.max_latency_ms, {}).setdefault(letter, colours[name])
    return [
        Limit(x=ms, colour=next(iter(by.values())), text=f"{' '.join(by)} {budget_text(ms, ' ms')}".strip())
        for ms, by in owners.items()
    ]


def front_figure(entries: Mapping[str, RunEntry]) -> Html:
    """Return the fronts of the searches of runs, with what is wrong with those that cannot be read.

    Args:
        entries: as of `trained_figure`.
    """
    series: list[Series] = []
    faults: list[str] = []
    for number, (letter, entry) in enumerate(entries.items()):
        try:
            front = entry.front()
        except (RunError, FileError) as error:
            faults.append(note(f"The front of {entry.key} cannot be shown: {error}", is_warning=True))
            continue
        if front:
            series += _found(letter, number, entry, front)
    chart = Chart(
        title="What the search found",
        x_label="predicted latency, ms",
        y_label="supernet score, %",
        series=series,
        limits=_budgets(entries),
    )
    words = "No other network that was evaluated beats these in both score and predicted latency." + (
        " Scores are by each run's own supernet: those of different ones are not the same measure."
        if len(entries) > 1
        else ""
    )
    marks = [(STEP, "front"), (LARGE, "winner"), (LIMIT, "budget")]
    shown = marks if any(entry.networks for entry in entries.values()) else marks[:1]
    return Html(figure(chart, words, legend(shown)) + "".join(faults))


def _found(letter: str, number: int, entry: RunEntry, front: Sequence[Evaluation]) -> Iterator[Series]:
    points = [
        Point(
            x=evaluation.costs["latency_ms"],
            y=100 * evaluation.score,
            text=f"{entry.key}: {evaluation.score:.2%} at {evaluation.costs['latency_ms']:.4g} ms, "
            f"{'-'.join(map(str, evaluation.architecture))}",
        )
        for evaluation in front
        if "latency_ms" in evaluation.costs
    ]
    yield Series(points=points, colour=number, is_stepped=True)
    if (summary := entry.records.summary) is None:
        return
    colours = _colours(letter, number, entry)
    for name, network in _winners(entry).items():
        if name not in summary.duplicates:
            text = f"{entry.key}, {name}: {network.supernet_score:.2%} at {network.predicted_ms:.4g} ms as predicted"
            point = Point(x=network.predicted_ms, y=100 * network.supernet_score, text=text, label=letter or name)
            yield Series(points=[point], colour=colours[name], mark="large")
