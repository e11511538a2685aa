"""The page of one run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from html import escape

from hwnas.artifacts import ORIGINAL, WINNER, NetworkSummary, Summary, duplicate_names
from hwnas.config_file import config_as_yaml
from hwnas.quantities import MEDIAN, budget_text, ms_column
from hwnas.report.markup import Column, Html, badge, definitions, note, table
from hwnas.ui.network_charts import front_figure, trained_figure
from hwnas.ui.run_entry import RunEntry
from hwnas.ui.shell import (
    COMPARE_PATH,
    MODELS_NAME,
    REFRESH_S,
    REPORT_NAME,
    RUN_PREFIX,
    RUNS_PATH,
    TABLE_PREFIX,
    frame,
    milliseconds,
    moment,
    path_of,
    size,
    state_badge,
    token,
    with_query,
)


def run_page(entry: RunEntry, where: str, *, table_key: str | None) -> str:
    """Return the page of a run, as far as the run is; it is asked for again while the run goes on.

    Args:
        table_key: of the run's latency table; None where there is none yet.
    """
    summary = entry.records.summary
    parts = [
        f'<p class="eyebrow">Run</p><h1>{escape(entry.key)}</h1>',
        definitions(_facts(entry, table_key), "facts"),
        *(note(fault, is_warning=True) for fault in entry.records.faults),
        "" if entry.failure is None else note(f"It failed: {entry.failure}", is_warning=True),
        "" if summary is None else _tiles(summary),
        *([] if summary is None else [note(f"{text}.", is_warning=True) for text in summary.missed_budgets]),
        *([] if summary is None else [note(f"{text}.") for text in _offers(entry, summary)]),
        _buttons(entry),
        f'<div class="beside">{trained_figure({"": entry})}{front_figure({"": entry})}</div>',
        "" if summary is None else f"<h2>Networks</h2>{networks_table(summary)}",
        _models(entry),
        _commands(entry),
        _settings(entry),
    ]
    refresh_s = REFRESH_S if entry.state == "running" else None
    return frame(entry.key, "".join(parts), where=where, current=RUNS_PATH, refresh_s=refresh_s)


def _facts(entry: RunEntry, table_key: str | None) -> dict[str, str]:
    config = entry.records.config
    facts: dict[str, str] = {"state": state_badge(entry), "data": entry.data, "space": entry.space}
    times = entry.records.times
    dates = {} if times is None else {"began": times.began, "ended": times.ended}
    facts |= {"device": entry.device, **{name: moment(d.timestamp()) for name, d in dates.items() if d is not None}}
    if times is None or times.ended is None:
        facts["last written"] = moment(entry.records.changed_s)
    if config is not None:
        facts |= {"task": config.task, "precision": config.precision, "seed": str(config.seed)}
    if table_key is not None:
        facts["latency table"] = Html(f'<a href="{path_of(TABLE_PREFIX, table_key)}">{escape(table_key)}</a>')
    return {name: value for name, value in facts.items() if value}


def _tiles(summary: Summary) -> str:
    of = "" if summary.percentile == MEDIAN else f" (p{summary.percentile})"
    budget = budget_text(summary.max_latency_ms, " ms")
    missed = " missed" if summary.budget_kept is False else ""
    tiles = (
        ("large", f"test {summary.metric}", f"{summary.test_accuracy:.2%}", ""),
        (
            f"large{missed}",
            f"measured{of}",
            "not measured" if summary.measured_ms is None else milliseconds(summary.measured_ms),
            "" if summary.max_latency_ms is None else badge(summary.budget_kept),
        ),
        ("large", f"budget{of}", budget, ""),
        ("", f"predicted{of}", milliseconds(summary.predicted_ms), ""),
        ("", "parameters", f"{summary.params:,}", ""),
        ("", "multiply-accumulates", f"{summary.macs:,}", ""),
    )
    shown = "".join(
        f'<div class="tile {kind}"><span class="name">{escape(name)}</span><span class="value">{escape(value)}</span>'
        f"{f'<span>{word}</span>' if word else ''}</div>"
        for kind, name, value, word in tiles
    )
    return f'<div class="tiles">{shown}</div>'


def _offers(entry: RunEntry, summary: Summary) -> list[str]:
    offer = summary.offer(shlex.quote(str(entry.files.root)))
    return [*summary.slower_in_int8, *([] if offer is None else [offer])]


def _buttons(entry: RunEntry) -> str:
    compare = with_query(COMPARE_PATH, [("run", token(entry.key))])
    report = path_of(RUN_PREFIX, entry.key, REPORT_NAME)
    opened = f'<a class="button first" href="{report}">Open the report</a>' if entry.records.has_report else ""
    beside = f'<a class="button" href="{compare}">Compare with others</a>' if entry.records.config else ""
    return f'<p class="buttons">{opened}{beside}</p>'


def networks_table(summary: Summary) -> Html:
    """Return the figures of the networks of a run."""
    networks, ms = summary.networks, ms_column(summary.percentile)
    same = duplicate_names({name: network.architecture for name, network in networks.items()})
    columns = [
        Column(name="network", is_text=True),
        Column(name=f"test {summary.metric}"),
        *(Column(name=name) for name in (f"measured {ms}", f"predicted {ms}", f"budget {ms}", "kept")),
        *(Column(name=name) for name in ("params", "MACs")),
    ]
    rows = (
        [
            f"{name} = {same[name]}" if name in same else name,
            f"{network.test_accuracy:.2%}",
            "not measured" if network.measured_ms is None else f"{network.measured_ms:.4g}",
            f"{network.predicted_ms:.4g}",
            *budget_cells(name, network),
            f"{network.params:,}",
            f"{network.macs:,}",
        ]
        for name, network in networks.items()
    )
    return table("Networks of the run", columns, rows, is_wide=True)


def budget_cells(name: str, network: NetworkSummary) -> tuple[str, str]:
    """Return a network's budget and whether it keeps it; the network as it was brought has none."""
    if name == ORIGINAL:
        return "", ""
    return budget_text(network.max_latency_ms), badge(network.budget_kept)


def _models(entry: RunEntry) -> str:
    if not (models := entry.records.models):
        return ""
    rows = (
        [
            Html(f'<a href="{path_of(RUN_PREFIX, entry.key, MODELS_NAME, name)}" download>{escape(name)}</a>'),
            _purpose(entry, name),
            size(num_bytes),
        ]
        for name, num_bytes in models.items()
    )
    columns = (Column(name="file", is_text=True), Column(name="what it is", is_text=True), Column(name="size"))
    return (
        "<h2>Models</h2><p>Files that the run exported, to be downloaded. They take normalised images; "
        "<code>hwnas export RUN -o DIR</code> makes a bundle that takes pictures.</p>"
        f"{table('Models of the run', columns, rows)}"
    )


def _purpose(entry: RunEntry, name: str) -> str:
    """Return what a model is, by its name; nothing of one that is not known."""
    export, known = entry.files.export, {WINNER, *entry.networks}
    known_files = {export.model(network).name: network for network in known}
    if name == export.dynamic_model.name:
        return "the winner, for any batch size"
    if name in known_files:
        return f"{known_files[name]}, one image at a time"
    return ""


def _commands(entry: RunEntry) -> str:
    folder = shlex.quote(str(entry.files.root))
    resume = f"hwnas search --resume --out {folder}"
    commands = {
        "finished": (
            ("A bundle to deploy, with int8 and a program that runs it", f"hwnas export {folder} -o bundle"),
            (
                "Another budget, with the supernet that is trained",
                f"hwnas search --from {folder} --max-latency 50% --out NEW",
            ),
        ),
        "running": (("The report while the run goes on", f"hwnas watch {folder}"),),
        "failed": (("Once what it failed by is put right, it continues with", resume),),
        "interrupted": (
            ("It was interrupted or killed, unless another machine works on it. It continues with", resume),
        ),
        "stopped": (("It is not finished, and no process of this machine works on it. It continues with", resume),),
        "damaged": (),
    }[entry.state]
    return f"<h2>What next</h2>{_listed(commands)}" if commands else ""


def _listed(commands: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<li><p>{escape(words)}</p><pre>{escape(line)}</pre></li>" for words, line in commands)
    return f'<ul class="commands">{lines}</ul>'


def _settings(entry: RunEntry) -> str:
    config = entry.records.config
    if config is None:
        return ""
    return (
        "<h2>Settings</h2><details><summary>All settings, as YAML</summary>"
        f'<pre class="settings" tabindex="0">{escape(config_as_yaml(config))}</pre></details>'
    )
