"""The first picture of the report: the score on test images of every trained network against its latency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwnas.artifacts import ORIGINAL, WINNER, NetworkSummary, Summary, duplicate_names
from hwnas.quantities import BUDGET_KEPT, budget_text, ms_column
from hwnas.report.facts import Facts
from hwnas.report.figures import ACCENT, MISSED, NEUTRAL, Key, Picture, Shape, architecture_name, axes, budget_line
from hwnas.report.labels import sides
from hwnas.report.markup import Column


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """A kind of networks: what is said of them, and how they are drawn."""

    words: str
    colour: str
    shape: Shape
    symbol: str
    size: int


KEEPING = _Kind(words="winner, keeps its budget", colour=ACCENT, shape="star", symbol="star", size=15)
MISSING = _Kind(words="misses its budget", colour=MISSED, shape="cross", symbol="x", size=11)
PREDICTED = _Kind(
    words="not measured: at its predicted latency", colour=ACCENT, shape="ring", symbol="circle-open", size=12
)
COMPARED = _Kind(words="for comparison", colour=NEUTRAL, shape="diamond", symbol="diamond", size=10)


def headline(facts: Facts) -> Picture | None:
    """Return the picture; None of a run that is not finished."""
    if facts.summary is None:
        return None
    networks = trained_networks(facts.summary, facts.further)
    kinds = {name: _kind_of(name, network) for name, network in networks.items()}
    places = {name: (shown_ms(network), 100 * network.test_accuracy) for name, network in networks.items()}
    held = {**facts.summary.networks, **facts.further}
    held_ms = {network.max_latency_ms for name, network in held.items() if name != ORIGINAL}
    budgets = sorted(ms for ms in held_ms if ms is not None)
    ranges = _ranges([x for x, _ in places.values()], [y for _, y in places.values()], budgets)
    placed = sides({_label(name): place for name, place in places.items()}, ranges, budgets)
    data = [
        _points(kind, {name: networks[name] for name in networks if kinds[name] == kind}, placed)
        for kind in (COMPARED, PREDICTED, MISSING, KEEPING)
        if kind in kinds.values()
    ]
    keys = [Key(name=k.words, colour=k.colour, shape=k.shape) for k in (KEEPING, MISSING, PREDICTED, COMPARED)]
    keys = [key for key in keys if key.name in {kind.words for kind in kinds.values()}]
    if budgets:
        keys.append(Key(name="budget" if len(budgets) == 1 else "budgets", colour=NEUTRAL, shape="dashed"))
    ms = ms_column(facts.summary.percentile)
    layout = axes(f"{'predicted' if facts.summary.measured_ms is None else 'measured'} latency, {ms}", "")
    layout["xaxis"] |= {"range": ranges[0]}
    layout["yaxis"] = {"title": {"text": f"test {facts.summary.metric}, %"}, "range": ranges[1]}
    layout["shapes"] = [budget_line(max_ms) for max_ms in budgets]
    layout["annotations"] = [_budget_words(max_ms) for max_ms in budgets]
    return Picture(
        name="headline",
        title="Accuracy against latency",
        text=f"Each point is a network that was trained: its {facts.summary.metric} on test images, and how long one "
        f"forward pass takes on {facts.summary.device}. Higher and further left is better.",
        data=data,
        layout=layout,
        columns=(
            Column(name="network", is_text=True),
            Column(name=f"latency {ms}"),
            Column(name=f"test {facts.summary.metric}"),
            Column(name=f"budget {ms}"),
            Column(name="kept"),
        ),
        rows=[
            (
                name,
                f"{shown_ms(n):.4g}",
                f"{n.test_accuracy:.2%}",
                "" if name == ORIGINAL else budget_text(n.max_latency_ms),
                "" if name == ORIGINAL else BUDGET_KEPT[n.budget_kept],
            )
            for name, n in networks.items()
        ],
        keys=tuple(keys),
    )


def trained_networks(summary: Summary, further: dict[str, NetworkSummary]) -> dict[str, NetworkSummary]:
    """Return the figures of every architecture that was trained, by all names under which its verdict is the same."""
    networks = {**summary.networks, **further}
    same = duplicate_names({name: network.architecture for name, network in networks.items()})
    # One network may keep one budget and miss another: it is shown as both then.
    same = {name: other for name, other in same.items() if networks[name].budget_kept is networks[other].budget_kept}
    return {
        " = ".join((name, *(other for other, first in same.items() if first == name))): network
        for name, network in networks.items()
        if name not in same
    }


def _label(names: str) -> str:
    """Return the first of the names of a network, which stands beside its point."""
    return names.partition(" = ")[0]


def shown_ms(network: NetworkSummary) -> float:
    """Return the latency that a network is drawn at: as measured, or as predicted where nothing was."""
    return network.predicted_ms if network.measured_ms is None else network.measured_ms


def _kind_of(name: str, network: NetworkSummary) -> _Kind:
    if name == ORIGINAL:
        return COMPARED
    if network.budget_kept is False:
        return MISSING
    if network.measured_ms is None:
        return PREDICTED
    return KEEPING if name.startswith((WINNER, "network-", "budget-")) else COMPARED


def _points(kind: _Kind, networks: dict[str, NetworkSummary], placed: dict[str, str]) -> dict[str, Any]:
    return {
        "x": [shown_ms(n) for n in networks.values()],
        "y": [100 * n.test_accuracy for n in networks.values()],
        "text": [_label(name) for name in networks],
        "textposition": [placed[_label(name)] for name in networks],
        "cliponaxis": False,
        "customdata": [list(n.choices) for n in networks.values()],
        "hovertext": [f"{name}, {architecture_name(n.architecture)}" for name, n in networks.items()],
        "hovertemplate": f"%{{hovertext}}<br>%{{x:.4g}} ms, %{{y:.2f}} %<br>{kind.words}<extra></extra>",
        "type": "scatter",
        "mode": "markers+text",
        "name": kind.words,
        "marker": {"color": kind.colour, "size": kind.size, "symbol": kind.symbol},
    }


def _ranges(xs: list[float], ys: list[float], budgets: list[float]) -> tuple[list[float], list[float]]:
    """Return what the axes show: all points and budgets, with room for names around them."""
    low_x, high_x = min([*xs, *budgets]), max([*xs, *budgets])
    low_y, high_y = min(ys), max(ys)
    margin_x = 0.14 * (high_x - low_x) or 0.2 * high_x or 1.0
    margin_y = 0.18 * (high_y - low_y) or 2.0
    top = min(high_y + margin_y, 100 + 0.03 * (high_y - low_y + margin_y))  # no tick above 100 %
    left = max(low_x - margin_x, -0.04 * (high_x - low_x))  # no tick below 0 ms
    return [left, high_x + margin_x], [low_y - margin_y, top]


def _budget_words(max_ms: float) -> dict[str, Any]:
    """Return the words beside a budget's line: upright, so that those of near budgets stay apart."""
    text, font = f"budget {max_ms:.4g} ms", {"color": NEUTRAL, "size": 11}
    at = {"x": max_ms, "y": 0.02, "yref": "paper", "xanchor": "left", "yanchor": "bottom", "textangle": -90}
    return {"text": text, "font": font, "showarrow": False, **at}
