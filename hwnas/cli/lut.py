"""`hwnas lut`: looking into latency tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from lut import LatencyTable

app = typer.Typer(help="Look into latency tables.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `lut` a group of commands even while it has one."""


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="The table's file.")],
    slowest: Annotated[int, typer.Option(min=0, help="How many of the slowest blocks to list.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every entry included.")] = False,
) -> None:
    """Show a table's entries, spread, provenance and slowest blocks."""
    from lut import load_table
    from lut.overview import describe_table

    table = load_table(path)
    if as_json:
        print_json(describe_table(table))
        return
    print_table_summary(table, path)
    ranked = sorted(table.latency_ms.items(), key=lambda item: -item[1])[:slowest]
    print_table(
        f"slowest {len(ranked)} blocks",
        ["block", "ms", "spread", "samples"],
        [
            [key, f"{ms:.4f}", f"{table.by_key[key].spread:.1%}", str(table.by_key[key].num_samples)]
            for key, ms in ranked
        ],
    )
    if table.failures:
        print_table("failed blocks", ["block", "error"], [[m.key, str(m.error)] for m in table.failures])


def print_table_summary(table: LatencyTable, path: Path) -> None:
    """A few lines on what a table is."""
    from lut.overview import describe_table

    about = describe_table(table)
    worker, device = about["worker"], about["device"]
    print(f"{path}: {about['num_entries']} blocks of {table.space}, {about['num_failed']} failed")
    print(
        f"  on {device['name']} ({worker.get('cpu_model')}, {device['threads']} threads, batch {device['batch']}, "
        f"cores {worker.get('cores')}, governor {worker.get('governor') or 'unknown'})"
    )
    print(
        f"  {device['runtime']} {worker.get(device['runtime'])}, {about['precision']}, {about['rounds']} rounds, "
        f"{about['date']}"
    )
    print(
        f"  median spread of the samples {about['median_spread']:.1%}, odd against even rounds "
        f"{about['repeatability']:.2%}"
    )
