"""The list of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hwnas.quantities import BUDGET_KEPT, counted
from hwnas.report.markup import Html, badge, html, note
from hwnas.ui.folder import Found
from hwnas.ui.run_entry import STATES, RunEntry
from hwnas.ui.shell import (
    COMPARE_PATH,
    RUN_PREFIX,
    RUNS_PATH,
    TABLES_PATH,
    frame,
    milliseconds,
    moment,
    path_of,
    state_badge,
    token,
    with_query,
)

FOREIGN_LISTED = 20
"""Folders without a run that are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """A column of the list.

    Attributes:
        value: that rows are sorted by; None sorts last.
        is_number: it stands to the right, and the largest comes first.
    """

    name: str
    title: str
    cell: Callable[[RunEntry], str]
    value: Callable[[RunEntry], str | float | None]
    is_number: bool = False


def _budget(entry: RunEntry) -> str:
    summary, config = entry.records.summary, entry.records.config
    asked = "" if config is None else config.max_latency
    if summary is None:
        return asked
    text = "none" if summary.max_latency_ms is None else milliseconds(summary.max_latency_ms)
    more = f' <span class="more">+{len(summary.winners)} more</span>' if summary.winners else ""
    return Html(f"{escape(text)}{more}")


def _measured(entry: RunEntry) -> float | None:
    return None if entry.records.summary is None else entry.records.summary.measured_ms


def _accuracy(entry: RunEntry) -> str:
    if (summary := entry.records.summary) is None:
        return ""
    metric = "" if summary.metric == "accuracy" else f' <span class="more">{escape(summary.metric)}</span>'
    return Html(f"{summary.test_accuracy:.2%}{metric}")


def _kept(entry: RunEntry) -> str:
    return "" if entry.records.summary is None else badge(entry.records.summary.budget_kept)


_COLUMNS = (
    _Column(name="state", title="State", cell=state_badge, value=lambda e: e.state),
    _Column(name="data", title="Data", cell=lambda e: e.data, value=lambda e: e.data),
    _Column(name="space", title="Space", cell=lambda e: e.space, value=lambda e: e.space),
    _Column(name="device", title="Device", cell=lambda e: e.device, value=lambda e: e.device),
    _Column(
        name="budget",
        title="Budget",
        cell=_budget,
        value=lambda e: None if e.records.summary is None else e.records.summary.max_latency_ms,
        is_number=True,
    ),
    _Column(
        name="measured", title="Measured", cell=lambda e: milliseconds(_measured(e)), value=_measured, is_number=True
    ),
    _Column(
        name="kept",
        title="Kept",
        cell=_kept,
        value=lambda e: None if e.records.summary is None else BUDGET_KEPT[e.records.summary.budget_kept],
    ),
    _Column(
        name="accuracy",
        title="Test",
        cell=_accuracy,
        value=lambda e: None if e.records.summary is None else e.records.summary.test_accuracy,
        is_number=True,
    ),
    _Column(
        name="date",
        title="Date",
        cell=lambda e: moment(e.date_s),
        value=lambda e: e.date_s,
        is_number=True,
    ),
)

_NAME = _Column(name="name", title="Run", cell=lambda e: e.key, value=lambda e: e.key.lower())

SORTED_BY = {column.name: column for column in (_NAME, *_COLUMNS)}


def runs_page(entries: Sequence[RunEntry], found: Found, where: str, query: Mapping[str, str]) -> str:
    """Return the page that lists runs.

    Args:
        query: `sort` is a column's name, with a minus before it for the other way round; `find` are words that all
            must be in what is said of a run.
    """
    words, sort = query.get("find", "").split(), query.get("sort", "date")
    shown = in_order([entry for entry in entries if _has(entry, words)], sort)
    states = [entry.state for entry in entries]
    counts = ", ".join(f"{states.count(s)} {s}" for s in STATES if s in states)
    about = f"{counted(len(entries), 'run')}{f': {counts}' if counts else ''}. "
    tables = f'<a href="{TABLES_PATH}">{counted(len(found.tables), "latency table")}</a>'
    body = f"<h1>Runs</h1><p class=soft>{about}{tables}.</p>{_form(shown, words, sort) if entries else _nothing()}"
    return frame("Runs", body + _rest(found), where=where, current=RUNS_PATH)


def in_order(entries: Sequence[RunEntry], sort: str) -> list[RunEntry]:
    """Return runs sorted by a column; those that have nothing there are last either way."""
    column = SORTED_BY.get(sort.removeprefix("-"), SORTED_BY["date"])
    known = [(value, entry) for entry in entries if (value := column.value(entry)) not in (None, "")]
    is_descending = column.is_number != sort.startswith("-")
    known.sort(key=lambda pair: (pair[0], pair[1].key), reverse=is_descending)
    rest = [entry for entry in entries if column.value(entry) in (None, "")]
    return [*(entry for _, entry in known), *rest]


def _has(entry: RunEntry, words: Sequence[str]) -> bool:
    summary = entry.records.summary
    kept = "" if summary is None else {True: "kept", False: "missed", None: "by prediction"}[summary.budget_kept]
    said = " ".join((entry.key, entry.state, entry.data, entry.space, entry.device, kept)).lower()
    return all(word.lower() in said for word in words)


def _form(shown: Sequence[RunEntry], words: Sequence[str], sort: str) -> str:
    text = escape(" ".join(words))
    again = f'<a href="{RUNS_PATH}">Show all</a>' if words else ""
    find = (
        f'<form class="find" role="search" action="{RUNS_PATH}"><input type="search" name="find" value="{text}" '
        'placeholder="digits finished missed" aria-label="Words that a run must have">'
        f'<select name="sort" aria-label="Order">{_orders(sort)}</select><button>Filter</button></form>'
    )
    if not shown:
        return f'<div class="tools">{find}{again}</div>{note("No run has all of these words.")}'
    rows = "".join(map(_row, shown))
    return (
        f'<div class="tools">{find}{again}<button class="first" form="compare">Compare ticked</button></div>'
        f'<form id="compare" action="{COMPARE_PATH}"><div class="scroll"><table class="list"><thead><tr>'
        f'<th class="tick"><span class="soft" title="Tick runs to compare them">✓</span></th>'
        f"{''.join(_heading(column, words, sort) for column in (_NAME, *_COLUMNS))}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></form>"
    )


def _orders(sort: str) -> str:
    """Return the orders to choose from; on narrow screens there are no headings to sort by."""
    columns = [SORTED_BY["date"], *(column for name, column in SORTED_BY.items() if name != "date")]
    names = {column.name: f"by {column.title.lower()}" for column in columns} | {"date": "newest first"}
    if sort not in names and sort.removeprefix("-") in names:
        names = {sort: f"{names[sort.removeprefix('-')]}, reversed", **names}
    return "".join(
        f'<option value="{escape(name)}"{" selected" if name == sort else ""}>{words}</option>'
        for name, words in names.items()
    )


def _heading(column: _Column, words: Sequence[str], sort: str) -> str:
    is_sorted = sort.removeprefix("-") == column.name
    is_descending = column.is_number != sort.startswith("-")
    turned = f"-{column.name}" if sort == column.name else column.name
    values = {"sort": turned} | ({"find": " ".join(words)} if words else {})
    order = f' aria-sort="{"descending" if is_descending else "ascending"}"' if is_sorted else ""
    arrow = (" ↓" if is_descending else " ↑") if is_sorted else ""
    kind = ' class="n"' if column.is_number else ""
    return f'<th scope="col"{kind}{order}><a href="{with_query(RUNS_PATH, values)}">{column.title}{arrow}</a></th>'


def _row(entry: RunEntry) -> str:
    key = escape(entry.key)
    faults = "".join(f'<span class="fault">{escape(fault)}</span>' for fault in _faults(entry))
    cells = "".join(
        f'<td data-name="{column.title}"{" class=n" if column.is_number else ""}>{html(column.cell(entry))}</td>'
        for column in _COLUMNS
    )
    return (
        f'<tr><td class="tick"><input type="checkbox" name="run" value="{escape(token(entry.key))}" '
        f'aria-label="Compare {key}"></td>'
        f'<th scope="row"><a href="{path_of(RUN_PREFIX, entry.key, "")}">{key}</a>{faults}</th>{cells}</tr>'
    )


def _faults(entry: RunEntry) -> list[str]:
    """Return what is wrong with a run, a sentence each."""
    return [*entry.records.faults, *([] if entry.failure is None else [entry.failure])]


def _nothing() -> str:
    return note(
        Html(
            "There is no run here yet. One begins with <code>hwnas search --data digits --max-latency 60% "
            "--out runs/digits</code>, and this page then shows how far it is."
        )
    )


def _rest(found: Found) -> str:
    """Return what else lies in the folder."""
    parts: list[str] = []
    if found.was_cut:
        parts.append(note("There is more here than was looked into: give a folder further in.", is_warning=True))
    if found.other:
        names = list(found.other.items())
        listed = ", ".join(f"{name} ({why})" for name, why in names[:FOREIGN_LISTED])
        more = f", and {len(names) - FOREIGN_LISTED} more" if len(names) > FOREIGN_LISTED else ""
        parts.append(f'<p class="end">Not listed: {escape(listed + more)}.</p>')
    return "".join(parts)
