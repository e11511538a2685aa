"""The report's table of the devices of a fleet."""

from __future__ import annotations

from hwnas.artifacts import Summary
from hwnas.quantities import ms_column
from hwnas.report.markup import Column, Html, badge, meanings, table


def devices(summary: Summary | None) -> Html | None:
    """Return the winner's latency on each device; None for a run for one device."""
    if summary is None or not summary.fleet:
        return None
    ms = ms_column(summary.percentile)
    columns = [
        Column(name="device", is_text=True),
        Column(name=f"budget {ms}", meaning="The longest that a forward pass may take there."),
        Column(name=f"predicted {ms}", meaning="What the latency table of the device said beforehand."),
        Column(name=f"measured {ms}", meaning="Time of one forward pass of the exported model there."),
        Column(name="verdict", is_text=True),
    ]
    verdicts = [badge(row.budget_kept) for row in summary.devices.values()]
    rows = [(*row[:-1], verdict) for row, verdict in zip(summary.device_rows, verdicts, strict=True)]
    return Html(
        '<section><h3>Devices</h3><p class="soft">One network for all: its budget on each device, and what it takes '
        f"there.</p>{table('devices', columns, rows)}{meanings(columns)}</section>"
    )
