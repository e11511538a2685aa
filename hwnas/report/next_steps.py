"""What a run has given, and what to do with it: links to its models, and commands."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from hwnas.quantities import ceil_ms
from hwnas.report.facts import Facts, ModelFile
from hwnas.report.markup import Column, Html, table

FOLDER = "RUN"
"""What commands call the folder that the report lies in: a report does not know where that is, and may be moved."""


def files_and_commands(facts: Facts, *, has_links: bool) -> Html | None:
    """Return the models and the next commands; None of a run that is not finished.

    Args:
        has_links: whether the page lies in the run's folder, so that links lead to its files.
    """
    if facts.summary is None:
        return None
    columns = (
        Column(name="model", is_text=True),
        Column(name="network", meaning="Whose model it is.", is_text=True),
        Column(name="KiB", meaning="Size of the file."),
        Column(name="batch", meaning="Images that it takes at a time.", is_text=True),
    )
    rows = [
        (_file(model, has_links), model.network, f"{model.size_bytes / 1024:,.0f}", model.batch)
        for model in facts.models
    ]
    files = (
        '<h3>Models</h3><p class="soft">ONNX files that take normalised images, in the folder export of the run; '
        f"summary.json has mean and std.</p>{table('Models', columns, rows)}"
    )
    items = "".join(
        f"<li><p>{escape(why)}</p><pre><code>{escape(command)}</code></pre></li>" for why, command in _next(facts)
    )
    return Html(
        f'{files}<h3>Next commands</h3><p class="soft">{FOLDER} stands for the folder that this report lies in.</p>'
        f'<ul class="commands">{items}</ul>'
    )


def _file(model: ModelFile, has_links: bool) -> Html:
    name = f"<code>{escape(model.path.rpartition('/')[2])}</code>"
    return Html(f'<a href="{quote(model.path)}" download>{name}</a>' if has_links else name)


def _next(facts: Facts) -> list[tuple[str, str]]:
    assert facts.summary is not None
    is_kept = facts.summary.budget_kept is not False
    ship = (
        "Make a bundle to deploy: int8 as well, preprocessing inside, a program that runs it.",
        "export RUN -o bundle",
    )
    other = ("Search for another budget; the supernet and the table are taken over.", _again(facts))
    more = [
        ("Train the best network of another budget from what the search has seen.", "retrain RUN --budget 50%"),
        ("See where the time of the winner goes, layer by layer.", "explain RUN/export/model.onnx"),
        ("Measure the winner beside another model, in turns.", "compare RUN/export/model.onnx OTHER.onnx"),
        ("List all networks that no other beats in both accuracy and latency.", "front RUN"),
    ]
    return [(why, f"hwnas {command}") for why, command in ([ship, other] if is_kept else [other, ship]) + more]


def _again(facts: Facts) -> str:
    summary = facts.summary
    assert summary is not None
    is_missed = summary.budget_kept is False
    budget = f"{ceil_ms(summary.measured_ms or summary.predicted_ms):g}ms" if is_missed else "50%"
    return f"search --from {FOLDER} --max-latency {budget} --out OTHER"
