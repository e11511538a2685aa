"""The report's table of the devices of a fleet."""

from __future__ import annotations

from html import escape

from hwnas.artifacts import Summary
from hwnas.quantities import ms_column

KEPT = {True: "kept, as measured", False: "missed", None: "kept, by prediction"}


def devices_section(summary: Summary | None) -> str:
    """Return a section with the winner's latency on each device; nothing for a run for one device."""
    if summary is None or not summary.fleet:
        return ""
    ms = ms_column(summary.percentile)
    columns = ("device", f"budget {ms}", f"predicted {ms}", f"measured {ms}", "budget")
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    kept = [KEPT[row.budget_kept] for row in summary.devices.values()]
    rows = [(*row[:-1], word) for row, word in zip(summary.device_rows, kept, strict=True)]
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        "<section><h2>Devices</h2><p>One network for all: its budget on each device, and what it takes there.</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )
