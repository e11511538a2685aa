"""The frame of every page, and small things that several have."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from urllib.parse import quote, urlencode

from hwnas.report.markup import Html, html
from hwnas.report.style import style_sheet
from hwnas.ui.chart import Chart, draw
from hwnas.ui.run_entry import RunEntry

STYLE_PATH, RUNS_PATH, TABLES_PATH, COMPARE_PATH = "/style.css", "/", "/tables/", "/compare"

RUN_PREFIX, TABLE_PREFIX = "/runs/", "/tables/"

REPORT_NAME = "report.html"

MODELS_NAME = "export"
"""Names below a run's page, as its report has them: links in there lead somewhere."""

REFRESH_S = 5
"""A running run's page is asked for again after so long."""

_PAGES = {RUNS_PATH: "Runs", TABLES_PATH: "Tables"}


def whole_style() -> str:
    """Return the style sheet of these pages."""
    return style_sheet() + (files("hwnas.ui") / "style.css").read_text(encoding="utf-8")


def frame(title: str, body: str, *, where: str, current: str = "", refresh_s: int | None = None) -> str:
    """Return a page.

    Args:
        where: the folder that is looked at.
        current: the path of the page, or of that which it belongs to.
        refresh_s: seconds after which it is asked for again; None for never.
    """
    links = "".join(
        f'<a href="{path}"{" aria-current=page" if path == current else ""}>{name}</a>' for path, name in _PAGES.items()
    )
    again = "" if refresh_s is None else f'<meta http-equiv="refresh" content="{refresh_s}">'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{again}'
        f"<title>{escape(title)} - hwnas</title>"
        f'<link rel="icon" href="data:,"><link rel="stylesheet" href="{STYLE_PATH}"></head><body>'
        f'<nav class="bar-of-pages" aria-label="Pages"><a class="brand" href="{RUNS_PATH}">hwnas</a>{links}'
        f'<span class="where" title="{escape(where)}"><bdi>{escape(where)}</bdi></span></nav>'
        f"<main>{body}</main></body></html>"
    )


def token(key: str) -> str:
    """Return a key as it stands in addresses and forms; names of files may be no text."""
    return quote(os.fsencode(key))


def path_of(prefix: str, key: str, *rest: str) -> str:
    """Return the path of what has that key, as an attribute's value."""
    return escape(prefix + token("/".join([key, *rest])))


def with_query(path: str, values: Mapping[str, str] | Sequence[tuple[str, str]]) -> str:
    """Return a path with a query, as an attribute's value."""
    return escape(f"{path}?{urlencode(values, errors='surrogateescape')}" if values else path)


def figure(chart: Chart, words: str, legend: str = "") -> Html:
    """Return a chart with its title, what it shows and its legend; nothing where there is nothing to draw."""
    if not (drawn := draw(chart)):
        return Html("")
    return Html(
        f"<figure><figcaption><h3>{escape(chart.title)}</h3><p>{html(words)}</p>{legend}</figcaption>{drawn}</figure>"
    )


def legend(items: Sequence[tuple[str, str]]) -> Html:
    """Return what marks stand for: for each a mark as SVG, and words."""
    marks = "".join(
        f'<li><svg viewBox="0 0 16 16" aria-hidden="true">{mark}</svg>{escape(words)}</li>' for mark, words in items
    )
    return Html(f'<ul class="legend">{marks}</ul>')


LARGE = '<circle class="large c1" cx="8" cy="8" r="6"/>'
HOLLOW = '<circle class="hollow c1" cx="8" cy="8" r="5"/>'
CROSS = '<path class="cross faint" d="M4 4l8 8m0 -8l-8 8"/>'
LIMIT = '<line class="limit c1" x1="8" x2="8" y1="0" y2="16"/>'
STEP = '<path class="step c1" d="M0 12H8V4H16"/>'


def moment(seconds: float) -> Html:
    """Return when something was, on this machine's clock."""
    try:
        when = datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, ValueError, OSError):  # a file's date may be anything
        return Html("")
    return Html(f'<time datetime="{when.isoformat(timespec="seconds")}">{when:%Y-%m-%d %H:%M}</time>')


_STATE_KINDS = {"running": " running", "failed": " missed", "damaged": " missed"}


def state_badge(entry: RunEntry) -> Html:
    """Return the word on a run's state."""
    return Html(f'<span class="badge{_STATE_KINDS.get(entry.state, "")}">{entry.state}</span>')


def milliseconds(value: float | None) -> str:
    """Return milliseconds for a cell; nothing where there are none."""
    return "" if value is None else f"{value:.4g} ms"


def size(num_bytes: int) -> str:
    """Return a file's size for a cell."""
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"
