"""The page that compares runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from string import ascii_uppercase

from hwnas.config import RunConfig
from hwnas.config_file import differing_settings
from hwnas.pipeline.file_settings import setting_of
from hwnas.report.markup import Column, Html, note, table
from hwnas.ui.chart import NUM_COLOURS
from hwnas.ui.network_charts import front_figure, trained_figure
from hwnas.ui.run_entry import RunEntry
from hwnas.ui.run_page import budget_cells
from hwnas.ui.shell import RUN_PREFIX, RUNS_PATH, frame, path_of, state_badge

MAX_COMPARED = 12
"""Runs that are compared at most: more cannot be told apart in one chart."""

NOT_READ = "cannot be read"


def compare_page(chosen: Sequence[RunEntry], where: str, *, unknown: Sequence[str] = ()) -> str:
    """Return the page that compares runs.

    Args:
        unknown: what was asked for and is no run of the folder.
    """
    entries = dict(zip(ascii_uppercase, chosen[:MAX_COMPARED], strict=False))
    remarks = [f"{name} is no run here." for name in unknown]
    if len(chosen) > MAX_COMPARED:
        remarks.append(f"Of {len(chosen)} runs the first {MAX_COMPARED} are compared.")
    if len(entries) < 2:
        remarks.append("Tick two runs or more in the list, and compare them.")
    parts = [
        "<h1>Compare runs</h1>",
        *(note(remark) for remark in remarks),
        _who(entries)
        if entries
        else f'<p class="buttons"><a class="button first" href="{RUNS_PATH}">To the list</a></p>',
        *(note(doubt, is_warning=True) for doubt in doubts(list(entries.values()))),
        f'<div class="beside">{trained_figure(entries)}{front_figure(entries)}</div>',
        _networks(entries),
        _settings(entries) if len(entries) > 1 else "",
    ]
    return frame("Compare runs", "".join(parts), where=where, current=RUNS_PATH)


def _letter(letter: str) -> Html:
    number = ascii_uppercase.index(letter) % NUM_COLOURS + 1
    return Html(f'<span class="letter c{number}">{letter}</span>')


def _who(entries: Mapping[str, RunEntry]) -> str:
    lines = "".join(
        f'<li>{_letter(letter)} <a href="{path_of(RUN_PREFIX, entry.key, "")}">{escape(entry.key)}</a> '
        f'<span class="soft">{escape(", ".join(filter(None, (entry.data, entry.space, entry.device))))}</span> '
        f"{'' if entry.state == 'finished' else state_badge(entry)}</li>"
        for letter, entry in entries.items()
    )
    return f'<ul class="who">{lines}</ul>'


def doubts(entries: Sequence[RunEntry]) -> list[str]:
    """Return what of runs should not be compared, a sentence each."""
    configs = [entry.records.config for entry in entries if entry.records.config is not None]
    found = []
    devices = {entry.device for entry in entries if entry.device}
    settings = {(c.device, c.precision, c.percentile) for c in configs}
    if len(devices) > 1:
        found.append(f"They are for different devices ({', '.join(sorted(devices))}): latencies are each one's own.")
    elif len(settings) > 1 and len({(c.precision, c.percentile) for c in configs}) > 1:
        found.append(
            "They hold their budgets in different precisions or percentiles: latencies are not the same measure."
        )
    data = {(entry.data, c.task) for entry in entries if (c := entry.records.config) is not None}
    if len(data) > 1:
        names = ", ".join(sorted({name for name, _ in data}))
        found.append(f"They learn different data or tasks ({names}): test scores are not the same measure.")
    return found


def _networks(entries: Mapping[str, RunEntry]) -> str:
    rows = list(_network_rows(entries))
    if not rows:
        return ""
    names = ("test", "measured ms", "predicted ms", "budget ms", "kept", "params", "MACs")
    columns = [Column(name="run", is_text=True), Column(name="network", is_text=True), *(Column(name=n) for n in names)]
    return f"<h2>Networks</h2>{table('Networks of the runs', columns, rows, is_wide=True)}"


def _network_rows(entries: Mapping[str, RunEntry]) -> Iterator[list[str]]:
    for letter, entry in entries.items():
        for name, network in entry.networks.items():
            yield [
                _letter(letter),
                name,
                f"{network.test_accuracy:.2%}",
                "" if network.measured_ms is None else f"{network.measured_ms:.4g}",
                f"{network.predicted_ms:.4g}",
                *budget_cells(name, network),
                f"{network.params:,}",
                f"{network.macs:,}",
            ]


def _settings(entries: Mapping[str, RunEntry]) -> str:
    configs = {letter: entry.records.config for letter, entry in entries.items()}
    known = [config for config in configs.values() if config is not None]
    names = sorted({name for config in known[1:] for name in differing_settings(known[0], config)})
    if not names:
        return f"<h2>Settings that differ</h2>{note('None: these runs have the same settings.')}"
    columns = [Column(name="setting", is_text=True), *(Column(name=letter, is_text=True) for letter in configs)]
    rows = ([name, *(_value(config, name) for config in configs.values())] for name in names)
    return f"<h2>Settings that differ</h2>{table('Settings that differ', columns, rows)}"


def _value(config: RunConfig | None, name: str) -> str:
    if config is None:
        return NOT_READ
    value = setting_of(config, name)
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
