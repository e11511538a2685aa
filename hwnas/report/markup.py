"""Pieces of HTML that the report is made of; every text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape


class Html(str):
    """Text that is HTML already, and is put into a page as it is."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        meaning: one sentence that explains it to a stranger.
        is_text: whether its cells are words, which stand to the left and may be long; numbers stand to the right.
    """

    name: str
    meaning: str = ""
    is_text: bool = False


def html(text: str) -> str:
    """Return a text as HTML; one that is HTML already as it is."""
    return text if isinstance(text, Html) else escape(text)


def badge(is_kept: bool | None) -> Html:
    """Return the word on a budget, in its colour; None where nothing was measured."""
    kind, words = {True: ("kept", "✓ kept"), False: ("missed", "✗ missed"), None: ("", "kept by prediction")}[is_kept]
    return Html(f'<span class="badge {kind}">{words}</span>' if kind else f'<span class="badge">{words}</span>')


def table(title: str, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, is_wide: bool = False) -> Html:
    """Return a table whose first column names its rows.

    Args:
        title: what it holds, for those who hear the page.
        is_wide: whether its cells are not to be broken; it can be scrolled sideways then.
    """
    kinds = ["text" if column.is_text else "n" for column in columns]
    head = "".join(
        f'<th scope="col" class="{kind}"{_title(column)}>{escape(column.name)}</th>'
        for column, kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row" class="text">{html(row[0])}</th>'
        + "".join(f'<td class="{kind}">{html(cell)}</td>' for cell, kind in zip(row[1:], kinds[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    kind = ' class="wide"' if is_wide else ""
    return Html(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}"><table{kind}>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def meanings(columns: Iterable[Column]) -> Html:
    """Return what the columns of a table mean, to be opened."""
    told = {column.name: column.meaning for column in columns if column.meaning}
    return Html(f"<details><summary>What the columns mean</summary>{definitions(told, 'meanings')}</details>")


def definitions(values: Mapping[str, str], kind: str) -> Html:
    """Return names with what is said of them."""
    rows = (f"<div><dt>{escape(name)}</dt><dd>{html(value)}</dd></div>" for name, value in values.items())
    if kind == "meanings":
        rows = (f"<dt>{escape(name)}</dt><dd>{html(value)}</dd>" for name, value in values.items())
    return Html(f'<dl class="{kind}">{"".join(rows)}</dl>')


def note(text: str, *, is_warning: bool = False) -> Html:
    """Return a sentence that stands out."""
    return Html(f'<p class="note{" missed" if is_warning else ""}">{html(text)}</p>')


def _title(column: Column) -> str:
    return f' title="{escape(column.meaning)}"' if column.meaning else ""
