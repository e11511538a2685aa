"""The pages of latency tables: all of them, and one."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hwnas.quantities import counted
from hwnas.report.markup import Column, Html, definitions, note, table
from hwnas.ui.chart import Chart, Point, Series
from hwnas.ui.shell import TABLE_PREFIX, TABLES_PATH, figure, frame, legend, moment, path_of
from hwnas.ui.table_entry import TableEntry, TableView

NEITHER = "-"

WITHIN = 0.05
"""Share around the measured latency that is shaded."""

_ROLES = {"held_out": "held out", "calibration": "used for calibration"}

_MEANINGS = {
    "held-out networks": "whole networks that were measured and that nothing was fitted to",
    "mean error": "of their predicted latency, relative to the measured one",
    "bias": "the mean error with its sign: above zero where predictions are too high",
    "within 5 %, 10 %": "share of them that is predicted that well",
    "Kendall tau": "how well predictions rank them: 1 is the same order, 0 is chance",
    "repeatability": "what two halves of the measurements of the same network differ by: no prediction can be better",
}


def tables_page(entries: Sequence[TableEntry], where: str) -> str:
    """Return the page that lists tables."""
    certified = sum(entry.fault is None and entry.doubt is None for entry in entries)
    about = f"{counted(len(entries), 'table')}, {certified} certified." if entries else ""
    listed = _list(entries) if entries else _nothing()
    return frame(
        "Latency tables",
        f'<h1>Latency tables</h1><p class="soft">{about}</p>{listed}',
        where=where,
        current=TABLES_PATH,
    )


def _nothing() -> str:
    return note(
        Html(
            "There is no latency table here yet. <code>hwnas profile --space nasbench-macro -o NAME.lut.json</code> "
            "makes one, and every run keeps its own as <code>lut.json</code>."
        )
    )


def _list(entries: Sequence[TableEntry]) -> str:
    names = ("Table", "Verdict", "Device", "Space", "Precision", "Blocks", "Mean error", "Within 5 %", "Tau", "Date")
    numbers = ("Blocks", "Mean error", "Within 5 %", "Tau", "Date")
    head = "".join(f'<th scope="col"{" class=n" if name in numbers else ""}>{name}</th>' for name in names)
    rows = "".join(map(_row, entries))
    return f'<div class="scroll"><table class="list"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(entry: TableEntry) -> str:
    name = f'<a href="{path_of(TABLE_PREFIX, entry.key)}">{escape(entry.key)}</a>'
    why = entry.fault or entry.doubt
    reason = f'<span class="fault">{escape(why)}</span>' if why else ""
    if entry.fault is not None:
        cell = f'<td data-name="Verdict">{verdict(entry)}</td>'
        return f'<tr><th scope="row">{escape(entry.key)}{reason}</th>{cell}{"<td></td>" * 8}</tr>'
    figures = entry.certificate
    cells = {
        "Verdict": verdict(entry),
        "Device": escape(entry.device if entry.threads == 1 else f"{entry.device}, {entry.threads} threads"),
        "Space": escape(entry.space_name),
        "Precision": entry.precision,
    }
    numbers = {
        "Blocks": f"{entry.num_blocks:,}{f' ({entry.num_failed} failed)' if entry.num_failed else ''}",
        "Mean error": "" if figures is None else f"{figures.mape:.1%}",
        "Within 5 %": "" if figures is None else f"{figures.within_5pct:.0%}",
        "Tau": "" if figures is None else f"{figures.kendall_tau:.2f}",
        "Date": moment(entry.made_s),
    }
    shown = "".join(f'<td data-name="{title}">{cell}</td>' for title, cell in cells.items())
    shown += "".join(f'<td class="n" data-name="{title}">{cell}</td>' for title, cell in numbers.items())
    return f'<tr><th scope="row">{name}{reason}</th>{shown}</tr>'


def verdict(entry: TableEntry) -> Html:
    """Return the word on a table."""
    if entry.fault is not None:
        return Html('<span class="badge missed">damaged</span>')
    if entry.doubt is not None:
        return Html('<span class="badge missed">✗ not certified</span>')
    return Html('<span class="badge kept">✓ certified</span>')


def table_page(entry: TableEntry, view: TableView | None, where: str) -> str:
    """Return the page of a table; of one that cannot be read, why.

    Args:
        view: None where it cannot be read.
    """
    parts = [f'<p class="eyebrow">Latency table</p><h1>{escape(entry.key)}</h1>']
    if entry.fault is not None or view is None:
        parts.append(note(entry.fault or "It cannot be read.", is_warning=True))
        return frame(entry.key, "".join(parts), where=where, current=TABLES_PATH)
    doubt = [] if entry.doubt is None else [note(f"Not certified: this table {entry.doubt}.", is_warning=True)]
    parts += [
        definitions(_facts(entry), "facts"),
        *doubt,
        *(note(f"{_sentence(warning)}", is_warning=True) for warning in view.warnings),
        _certificate(entry, view),
        *([] if view.missing_space is None else [note(f"No network is predicted here: {view.missing_space}")]),
        f'<div class="beside">{_predictions(view)}{_told(view)}</div>',
        _slowest(view),
        _failures(view),
    ]
    return frame(entry.key, "".join(parts), where=where, current=TABLES_PATH)


def _facts(entry: TableEntry) -> dict[str, str]:
    return {
        "verdict": verdict(entry),
        "device": entry.device,
        "runtime": entry.runtime,
        "threads": str(entry.threads),
        "precision": entry.precision,
        "space": entry.space,
        "blocks": f"{entry.num_blocks:,}, {entry.num_failed} failed",
        "made": moment(entry.made_s),
    }


def _certificate(entry: TableEntry, view: TableView) -> str:
    if (figures := entry.certificate) is None:
        return ""
    tiles = (
        ("large", "mean error", f"{figures.mape:.1%}", f"of {figures.num_networks} held-out networks"),
        ("large", "within 5 %", f"{figures.within_5pct:.0%}", f"within 10 %: {figures.within_10pct:.0%}"),
        ("large", "Kendall tau", f"{figures.kendall_tau:.2f}", f"repeatability {figures.repeatability_mape:.1%}"),
    )
    shown = "".join(
        f'<div class="tile {kind}"><span class="name">{name}</span><span class="value">{value}</span>'
        f'<span class="meaning">{meaning}</span></div>'
        for kind, name, value, meaning in tiles
    )
    return (
        f'<div class="tiles">{shown}</div><p>{escape(_sentence(view.certificate))}</p>'
        f"<details><summary>What these mean</summary>{definitions(_MEANINGS, 'meanings')}</details>"
    )


def _predictions(view: TableView) -> Html:
    series = [
        Series(
            points=[
                Point(x=m, y=p, text=f"measured {m:.4g} ms, predicted {p:.4g} ms ({p / m - 1:+.1%})")
                for m, p in view.networks.get(role, ())
            ],
            colour=None if role == "calibration" else 0,
        )
        for role in ("calibration", "held_out")
    ]
    chart = Chart(
        title="Predicted against measured latency",
        x_label="measured, ms",
        y_label="predicted, ms",
        series=series,
        within=WITHIN,
    )
    dots = {"held_out": "c1", "calibration": "faint"}
    marks = [(f'<circle class="dot {dots[role]}" cx="8" cy="8" r="4"/>', words) for role, words in _ROLES.items()]
    marks.append(('<rect class="band" width="16" height="16"/>', "within 5 %"))
    words = "Whole networks. Those that were held out say how far predictions are off: nothing was fitted to them."
    return figure(chart, words, legend(marks))


def _told(view: TableView) -> str:
    if not view.sentences:
        return ""
    lines = "".join(f"<li>{escape(_sentence(sentence))}</li>" for sentence in view.sentences)
    return f'<section><h3>What it tells</h3><ul class="told">{lines}</ul></section>'


def _slowest(view: TableView) -> str:
    if not view.slowest:
        return ""
    rows = ([key, f"{ms:.4f}"] for key, ms in view.slowest.items())
    columns = (Column(name="block", is_text=True), Column(name="ms"))
    return f"<h2>Slowest blocks</h2>{table('Slowest blocks', columns, rows)}"


def _failures(view: TableView) -> str:
    if not view.failures:
        return ""
    columns = (Column(name="block", is_text=True), Column(name="error", is_text=True))
    return f"<h2>Blocks that failed</h2>{table('Blocks that failed', columns, [*view.failures.items()])}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
