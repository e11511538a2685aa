"""The report as one HTML file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from hwnas.artifacts import ORIGINAL, WINNER, Deployment, Summary, duplicate_names
from hwnas.quantities import BUDGET_KEPT, MEDIAN, budget_text, ms_column
from hwnas.report.facts import Facts
from hwnas.report.figures import Picture, pictures
from hwnas.report.fleet import devices_section
from hwnas.report.images import confusion, image_sections

KEEPS = {True: "keeps", False: "misses", None: "keeps by prediction"}


def render(facts: Facts, *, refresh_s: int | None = None) -> str:
    """Return the page; it reloads itself where `refresh_s` is given."""
    from plotly.offline import get_plotlyjs

    subject = facts.subject
    drawn = [*pictures(facts), *confusion(facts.predictions)]
    template = (files("hwnas") / "templates" / "report.html.txt").read_text(encoding="utf-8")
    figures = {p.name: {"data": p.data, "layout": p.layout} for p in drawn}
    parts = {
        "$TITLE": escape(f"{subject.space.spec.name} on {subject.device}"),
        "$REFRESH": f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else "",
        "$ANSWER": _answer(facts),
        "$STRIP": _strip(facts),
        "$PICTURES": "\n".join(_section(picture) for picture in drawn),
        "$IMAGES": image_sections(facts.predictions),
        "$NETWORKS": devices_section(facts.summary) + _networks(facts),
        "$ARTEFACTS": "\n".join(map(_bundle, facts.deployments)),
        "$ENVIRONMENT": _environment(facts),
        "$PLOTLY": get_plotlyjs(),
        # Neither the end nor the beginning of a script may stand in one.
        "$FIGURES": json.dumps(figures).replace("<", "\\u003c"),
    }
    # One pass: nothing that was put in is looked at again.
    return re.sub("|".join(map(re.escape, parts)), lambda match: parts[match[0]], template)


def _answer(facts: Facts) -> str:
    summary = facts.summary
    if summary is None:
        done = (
            f"{len(facts.history)} of {facts.subject.num_evaluations} evaluations"
            if facts.history
            else (
                ", ".join(f"{name}: {len(rows)} epochs" for name, rows in facts.curves.items())
                or "nothing finished yet"
            )
        )
        return f'<p class="lead">Still running: {escape(done)}.</p>'
    is_kept, of = summary.budget_kept, "" if summary.percentile == MEDIAN else f" (p{summary.percentile})"
    cards = [
        (f"{summary.test_accuracy:.2%}", f"test {summary.metric}", "card"),
        (
            "not measured" if summary.measured_ms is None else f"{summary.measured_ms:.4g} ms",
            f"measured on {summary.device}{of}",
            "card",
        ),
        (
            budget_text(summary.max_latency_ms, " ms"),
            f"budget{of}, which it {KEEPS[is_kept]}",
            "card warning" if is_kept is False else "card",
        ),
        (f"{summary.predicted_ms:.4g} ms", f"predicted{of}", "card"),
        (f"{summary.params / 1e6:.3g} M", "parameters", "card"),
        (f"{summary.macs / 1e6:.3g} M", "multiply-accumulates", "card"),
    ]
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="{kind}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
            for value, label, kind in cards
        )
        + "</div>"
        + "".join(f'<p class="lead">{escape(text)}.</p>' for text in _remarks(summary))
    )


def _remarks(summary: Summary) -> list[str]:
    """Return the sentences on what to do."""
    offer = summary.offer("RUN")
    return [*summary.missed_budgets, *summary.slower_in_int8, *([] if offer is None else [offer])]


def _strip(facts: Facts) -> str:
    if facts.summary is None:
        return ""
    decisions = [d.name for d in facts.subject.space.decisions]
    meaning = "with what was chosen" if facts.layers else "wider kernels are darker, larger expansions taller"
    return (
        f"<section><h2>The network</h2><p>One box a decision: {meaning}. "
        f'Clicking a network above shows it here.</p><p id="shown">{WINNER}</p>'
        f'<div id="strip" data-decisions="{escape(json.dumps(decisions))}" '
        f'data-choices="{escape(json.dumps(facts.summary.choices))}"></div></section>'
    )


def _section(picture: Picture) -> str:
    return (
        f"<section><h2>{escape(picture.title)}</h2><p>{escape(picture.text)}</p>"
        f'<div class="figure" id="{picture.name}" role="img" aria-label="{escape(picture.title)}"></div>'
        f"<details><summary>As a table</summary>{_table(picture.columns, picture.rows)}</details></section>"
    )


def _networks(facts: Facts) -> str:
    if facts.summary is None:
        return ""
    networks, ms = {**facts.summary.networks, **facts.further}, ms_column(facts.summary.percentile)
    same = duplicate_names({name: n.architecture for name, n in networks.items()})
    rows = [
        (
            f"{name} = {same[name]}" if name in same else name,
            f"{n.test_accuracy:.2%}",
            "not measured" if n.measured_ms is None else f"{n.measured_ms:.4g}",
            "" if n.measured_table_ms is None else f"{n.measured_table_ms:.4g}",
            *("" if tail is None else f"{tail:.4g}" for tail in (n.p50_ms, n.p95_ms, n.p99_ms)),
            f"{n.predicted_ms:.4g}",
            "" if name == ORIGINAL else budget_text(n.max_latency_ms),
            "" if name == ORIGINAL else BUDGET_KEPT[n.budget_kept],
            f"{n.params:,}",
            f"{n.macs:,}",
        )
        for name, n in networks.items()
    ]
    columns = (
        "network",
        "test",
        f"measured {ms}",
        "at the table's speed",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        f"predicted {ms}",
        f"budget {ms}",
        "kept",
        "params",
        "MACs",
    )
    return f"<section><h2>Networks trained</h2>{_table(columns, rows)}</section>"


def _bundle(deployment: Deployment) -> str:
    """Return a table of the models of a bundle."""
    rows = [
        (
            name,
            f"{model.score:.2%}",
            "not measured" if model.measured_ms is None else f"{model.measured_ms:.4g}",
            *("" if tail is None else f"{tail:.4g}" for tail in (model.p50_ms, model.p95_ms, model.p99_ms)),
            f"{model.size_bytes / 1024:,.0f}",
            model.purpose,
            model.sha256[:12],
        )
        for name, model in deployment.models.items()
    ]
    measured = f"measured {ms_column(deployment.percentile)}"
    columns = ("model", "test", measured, "p50 ms", "p95 ms", "p99 ms", "KiB", "what for", "sha256")
    recommended = deployment.recommended
    advice = "" if recommended is None else f"<p>{escape(f'Deploy {recommended.file}: {recommended.reason}.')}</p>"
    of = "" if deployment.network is None else f" of {escape(deployment.network)}"
    return f"<section><h2>Bundle{of}</h2>{advice}{_table(columns, rows)}</section>"


def _environment(facts: Facts) -> str:
    rows = [("search space", str(facts.subject.space.spec)), ("data", facts.subject.data)]
    rows += [("seed", str(facts.subject.seed)), ("training strategy", facts.subject.strategy)]
    rows += [("search agent", facts.subject.search_agent)]
    if facts.table is not None:
        provenance = facts.table.provenance
        rows += [("table", f"{provenance.date}, {provenance.rounds} rounds, {provenance.precision}")]
        rows += [(k, str(v)) for k, v in provenance.worker.items() if not (v is None or isinstance(v, dict | list))]
    if facts.summary is not None:
        parity = facts.summary.parity
        rows += [
            (
                "ONNX against torch",
                f"largest difference {parity.max_abs_difference:.1e}, "
                f"{parity.equal_predictions:.2%} equal predictions on {parity.num_images} images",
            )
        ]
    return f"<section><h2>Environment</h2>{_table(('what', ''), rows)}</section>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
