"""The head of the report: what a run is about, what it came to, or how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from hwnas.artifacts import RunTimes, Summary
from hwnas.quantities import MEDIAN, budget_text
from hwnas.report.facts import Facts
from hwnas.report.markup import Html, badge, definitions, note
from onnx_models.image_size import height_width

METRICS = {
    "accuracy": "Share of the test images that the winner gets right. No training and no choice has seen them.",
    "map": "Mean average precision of its boxes on test images, from 0 to 100 %. No training has seen them.",
    "mean iou": "Mean overlap of its masks with the true ones over all classes, on images that no training has seen.",
}
"""What scores are, by their names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A number with its name and a sentence that explains it to a stranger."""

    name: str
    value: str
    meaning: str
    is_large: bool = False
    is_kept: bool | None = None
    has_budget: bool = False

    def as_html(self) -> str:
        """Return the tile."""
        kinds = ["tile", *(["large"] if self.is_large else [])]
        if self.has_budget and self.is_kept is False:
            kinds.append("missed")
        word = f"<span>{badge(self.is_kept)}</span>" if self.has_budget else ""
        return (
            f'<div class="{" ".join(kinds)}"><span class="name">{escape(self.name)}</span>'
            f'<span class="value">{escape(self.value)}</span>{word}'
            f'<span class="meaning">{escape(self.meaning)}</span></div>'
        )


def title(facts: Facts) -> str:
    """Return what the run is about in a line."""
    subject = facts.subject
    return f"{_short(subject.data)}: {subject.space.spec.name} on {subject.device}"


def head(facts: Facts) -> Html:
    """Return the title with data, device, dates and the settings that matter most."""
    subject = facts.subject
    height, width = height_width(subject.space.spec.input_size)
    data = _short(subject.data)
    told = {"data": f"{data}, {len(facts.summary.classes)} classes" if facts.summary else data}
    told |= {"task": subject.task, "images": f"{subject.space.spec.in_channels}x{height}x{width} pixels"}
    told |= {"device": subject.device} | ({} if facts.table is None else _measured_on(facts))
    told |= {"search space": subject.space.spec.name}
    told |= {name: subject.settings[name] for name in ("budget", "precision", "seed") if name in subject.settings}
    told |= {} if facts.times is None else _dates(facts.times)
    eyebrow = "Report of a search" if facts.summary is not None else "Report of an unfinished search"
    return Html(
        f'<p class="eyebrow">{eyebrow}</p><h1>{escape(data)} on {escape(subject.device)}</h1>'
        f"{definitions(told, 'facts')}"
    )


def _dates(times: RunTimes) -> dict[str, str]:
    """Return when a run began and ended, as far as that is known."""
    dates = {"began": times.began, "ended": times.ended}
    return {name: f"{date:%Y-%m-%d %H:%M %Z}" for name, date in dates.items() if date is not None}


def _short(data: str) -> str:
    """Return the name of data; of those in a file of somebody's own, without the folders that it is in."""
    return data.rpartition("/")[2]


def _measured_on(facts: Facts) -> dict[str, str]:
    assert facts.table is not None
    provenance = facts.table.provenance
    cpu = provenance.worker.get("cpu_model")
    machine = {"processor": cpu} if isinstance(cpu, str) and cpu else {}
    return {**machine, "measured on": provenance.date[:10]}


def answer(facts: Facts) -> Html:
    """Return what the run came to: a sentence, numbers, and what to do."""
    if facts.summary is None:
        return _so_far(facts)
    summary = facts.summary
    tiles = "".join(tile.as_html() for tile in _tiles(summary, facts))
    warnings = "".join(note(f"{text}.", is_warning=True) for text in summary.missed_budgets)
    offer = summary.offer("RUN")
    hints = "".join(note(f"{text}.") for text in [*summary.slower_in_int8, *([] if offer is None else [offer])])
    return Html(f'<p class="lead">{escape(_verdict(summary))}</p>{warnings}<div class="tiles">{tiles}</div>{hints}')


def _verdict(summary: Summary) -> str:
    score = f"{summary.test_accuracy:.2%} test {summary.metric}"
    of = "" if summary.percentile == MEDIAN else f" (p{summary.percentile})"
    budget = summary.max_latency_ms
    if summary.measured_ms is None:
        held = (
            "no budget was set" if budget is None else f"its budget of {budget:.4g} ms is {_kept(summary.budget_kept)}"
        )
        return (
            f"The winner has {score} and should take {summary.predicted_ms:.4g} ms{of} on {summary.device}: {held}. "
            "Nothing was measured there."
        )
    took = f"takes {summary.measured_ms:.4g} ms{of} on {summary.device}"
    if budget is None:
        return f"The winner has {score} and {took}; no budget was set."
    if summary.budget_kept is False:
        return (
            f"The winner misses its budget: it {took}, {summary.measured_ms / budget - 1:.1%} more than the "
            f"{budget:.4g} ms allowed. It has {score}."
        )
    return f"The winner has {score} and {took}, {summary.measured_ms / budget:.0%} of its budget of {budget:.4g} ms."


def _kept(is_kept: bool | None) -> str:
    return "missed" if is_kept is False else "kept by prediction"


def _tiles(summary: Summary, facts: Facts) -> list[Tile]:
    is_median = summary.percentile == MEDIAN
    of = "" if is_median else f" (p{summary.percentile})"
    what = "Median" if is_median else f"{summary.percentile}th percentile"
    off = "" if summary.measured_ms is None else f", off by {summary.predicted_ms / summary.measured_ms - 1:+.1%}"
    asked = facts.subject.settings.get("budget")
    share = f" You asked for {asked}." if asked and "%" in asked else ""
    return [
        Tile(
            name=f"test {summary.metric}",
            value=f"{summary.test_accuracy:.2%}",
            meaning=METRICS.get(summary.metric, "The task's score on test images, which no training has seen."),
            is_large=True,
        ),
        Tile(
            name=f"measured latency{of}",
            value="not measured" if summary.measured_ms is None else f"{summary.measured_ms:.4g} ms",
            meaning=f"Nothing can be measured on {summary.device} from here; see the prediction."
            if summary.measured_ms is None
            else f"{what} time of one forward pass of the exported model on {summary.device}.",
            is_large=True,
        ),
        Tile(
            name=f"budget{of}",
            value=budget_text(summary.max_latency_ms, " ms"),
            meaning="No latency was ruled out."
            if summary.max_latency_ms is None
            else f"The longest that a forward pass may take.{share}",
            is_large=True,
            is_kept=summary.budget_kept,
            has_budget=summary.max_latency_ms is not None,
        ),
        Tile(
            name=f"predicted latency{of}",
            value=f"{summary.predicted_ms:.4g} ms",
            meaning=f"What the latency table said beforehand{off}.",
        ),
        Tile(
            name="parameters",
            value=f"{summary.params / 1e6:.3g} M",
            meaning="Weights that training has set; they make the file's size.",
        ),
        Tile(
            name="multiply-accumulates",
            value=f"{summary.macs / 1e6:.3g} M",
            meaning="Arithmetic of one forward pass; the same number can take different times.",
        ),
    ]


def _so_far(facts: Facts) -> Html:
    """Return the stages of a run that is not finished, each with how far it is."""
    times = facts.times
    has_ended = times is not None and times.ended is not None
    words = ("Not finished", "not finished", "not begun") if has_ended else ("Still running", "going on", "begins")
    state, now, begins = words
    trained = facts.curves.get("supernet", [])
    retrained = {name.removeprefix("retrain "): rows for name, rows in facts.curves.items() if name != "supernet"}
    asked = facts.subject
    # Each budget has a search of its own, which may end before all of its evaluations.
    of_all = f"of {asked.num_evaluations} evaluations"
    if "further budgets" in asked.settings:
        of_all = f"evaluations, up to {asked.num_evaluations} for each budget"
    stages = [
        ("Latency table", facts.table is not None, "blocks and networks are measured on the device"),
        ("Supernet", bool(facts.history), f"{len(trained)} of {asked.num_epochs} epochs"),
        ("Search", bool(retrained), f"{len(facts.history)} {of_all}"),
        (
            "Training of the networks",
            False,
            ", ".join(f"{name}: {len(rows)} of {asked.num_retrain_epochs} epochs" for name, rows in retrained.items()),
        ),
        ("Measurement and export", False, "the last step"),
    ]
    current = next(i for i, (_, is_done, _) in enumerate(stages) if not is_done)
    rows = "".join(
        f'<li class="{kind}"><b>{escape(name)}</b> <span class="badge {"kept" if kind == "done" else ""}">{word}</span>'
        f"<span>{escape(words) if kind != 'next' else ''}</span></li>"
        for i, (name, _, words) in enumerate(stages)
        for kind, word in [("done", "✓ done") if i < current else ("now", now) if i == current else ("next", "to come")]
    )
    lead = f"{state}: {stages[current][0].lower()}, {stages[current][2] or begins}."
    if times is not None and times.failure is not None:
        lead = f"It failed: {times.failure}"
    return Html(f'<p class="lead">{escape(lead)}</p><ol class="stages">{rows}</ol>')
