"""`hwnas lut`: looking into latency tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli import adapt
from hwnas.cli.arguments import DevicesFile, Json, Quiet, TableFile
from hwnas.cli.commands import Group
from hwnas.cli.printing import print_json, print_networks, print_table
from hwnas.cli.ranges import ranged
from hwnas.cli.table_space import TableSpace
from hwnas.cli.table_summary import print_table_summary

app = typer.Typer(cls=Group, help="Look into latency tables.", no_args_is_help=True)

NUM_LISTED = 10
"""Blocks that are listed unless another number is given."""


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="The table's file.")],
    slowest: Annotated[int | None, ranged("listed", "How many of the slowest blocks to list [10].")] = None,
    space_name: TableSpace = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every entry included.")] = False,
) -> None:
    """Show a table's entries, spread, provenance and slowest blocks."""
    from hwnas.cli.idle_flags import refuse_beside
    from hwnas.pipeline.table_space import space_of
    from hwnas.trust import contradictions
    from lut import load_table
    from lut.overview import describe_table
    from search_spaces import SpaceError

    if as_json:
        refuse_beside("--json, which has them all", slowest=slowest)
    table = load_table(path)
    try:
        space = space_of(table, path, space_name)
    except SpaceError:  # of one's own, and its file is not here
        if space_name is not None:
            raise
        space = None
    if as_json:
        warnings = [] if space is None else contradictions(table, space)
        print_json({**describe_table(table, space), "warnings": warnings})
        return
    print_table_summary(table, path, space)
    entries, reported = table.by_key, {r.key: r for r in table.reported}

    def row(key: str, ms: float) -> list[str]:
        if key in entries:
            return [key, f"{ms:.4f}", f"{entries[key].spread:.1%}", str(entries[key].num_samples)]
        spread, count = reported[key].std_ms, reported[key].count
        return [key, f"{ms:.4f}", "" if spread is None else f"{spread / ms:.1%}", "" if count is None else str(count)]

    ranked = sorted(table.latency_ms.items(), key=lambda item: -item[1])[: NUM_LISTED if slowest is None else slowest]
    print_table(
        f"slowest {len(ranked)} blocks",
        ["block", "ms", "spread", "samples"],
        [row(key, ms) for key, ms in ranked],
    )
    print_networks(table)
    if table.failures:
        print_table("failed blocks", ["block", "error"], [[m.key, str(m.error)] for m in table.failures])


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="The table's file.")],
    networks: Annotated[int, ranged("networks_to_verify", "New networks to measure.")] = 50,
    seed: Annotated[int, ranged("seed", "Which networks, and the order of visits.")] = 1,
    rounds: Annotated[int, ranged("rounds", "Interleaved rounds.")] = 40,
    devices: DevicesFile = None,
    space_name: TableSpace = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure new random networks on the device now, and print the table's certificate again."""
    from dataclasses import asdict

    from hwnas.errors import RequestError
    from hwnas.pipeline.table_space import space_of
    from hwnas.profiling import onnx_cache, shown
    from hwnas.progress import Reporter
    from hwnas.trust import describe
    from lut import load_table
    from lut.verify import verify_table
    from profilers import Profiler
    from profilers.device import adjusted, find_device

    table = load_table(path)
    if table.is_imported:
        raise RequestError(
            f"{path} was published by others, and its device is none that can be named here; make a table for one that "
            f"is, which gets a certificate: hwnas lut adapt {path} --device NAME -o another.lut.json"
        )
    space, settings = space_of(table, path, space_name), table.provenance.device
    threads, batch, tuning = settings["threads"], settings["batch"], settings.get("tuning")
    device = adjusted(find_device(settings["name"], devices), threads=threads, batch=batch, tuning=tuning)
    with shown(Reporter(is_quiet=quiet), "verify", rounds) as on_progress:
        result = verify_table(
            table,
            space,
            profiler=Profiler(device=device, rounds=rounds, seed=seed, on_progress=on_progress),
            num_networks=networks,
            seed=seed,
            onnx_folder=onnx_cache(),
        )
    if as_json:
        print_json({**asdict(result.certificate), "drift": result.drift, "without_drift": asdict(result.without_drift)})
        return
    print(f"{path}: {describe(result.certificate)}")
    speed = "slower" if result.drift > 0 else "faster"
    print(f"  the device is {abs(result.drift):.1%} {speed} than when the table was made")
    print(f"  without that drift: {describe(result.without_drift)}")


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A table's file.")],
    second: Annotated[Path, typer.Argument(help="Another's.")],
    most: Annotated[int | None, ranged("listed", "How many of the most differing blocks to list [10].")] = None,
    as_json: Json = False,
) -> None:
    """Compare two tables: runtimes, threads, precisions, dates."""
    from dataclasses import asdict

    from hwnas.cli.idle_flags import refuse_beside
    from lut import load_table
    from lut.diff import compare_tables

    if as_json:
        refuse_beside("--json, which has them all", most=most)
    difference = compare_tables(load_table(first), load_table(second))
    if as_json:
        print_json(asdict(difference))
        return
    for name, one, other in difference.provenance:
        print(f"{name}: {one} -> {other}")
    print(
        f"{difference.num_common} common blocks ({len(difference.only_first)} only in the first, "
        f"{len(difference.only_second)} only in the second): the second takes {difference.median_ratio:.3f} times as "
        f"long, spread {difference.ratio_spread:.1%}, Kendall tau "
        + ("unknown" if difference.kendall_tau is None else f"{difference.kendall_tau:.3f}")
    )
    print_table(
        "furthest from that ratio",
        ["block", "second / first"],
        [
            [key, f"{ratio:.3f}"]
            for key, ratio in list(difference.ratios.items())[: NUM_LISTED if most is None else most]
        ],
    )


@app.command()
def refit(
    path: Annotated[Path, typer.Argument(help="The table's file.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The new table's file [the same].")] = None,
    space_name: TableSpace = None,
) -> None:
    """Calibrate and certify a table anew from its samples; nothing is measured."""
    from hwnas.errors import RequestError
    from hwnas.pipeline.table_space import space_of
    from hwnas.profiling import making_table, require_table_or_nothing
    from lut import load_table, save_table
    from lut.build import finished

    table = load_table(path)
    space = space_of(table, path, space_name)
    refitted = finished(table, space)
    if refitted.calibration is None:
        raise RequestError(
            f"{path} cannot be calibrated: expected four usable networks for calibration and two to certify with, "
            f"found {len(table.networks)} measured networks in all; profile with --networks 50"
        )
    with making_table(output or path):
        require_table_or_nothing(output or path)
        save_table(refitted, output or path)
    print_table_summary(refitted, output or path, space)


@app.command()
def merge(
    tables: Annotated[list[Path], typer.Argument(help="Partial tables of one device.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The joined table's file.")],
    space_name: TableSpace = None,
) -> None:
    """Join partial tables of one device into one."""
    from hwnas.errors import RequestError
    from hwnas.pipeline.table_space import space_of
    from hwnas.profiling import making_table, require_table_or_nothing
    from lut import load_table, save_table
    from lut.merge import merge_tables

    if len(tables) < 2:
        raise RequestError(f"merging takes two tables or more, got {len(tables)}")
    loaded = [load_table(path) for path in tables]
    space = space_of(loaded[0], tables[0], space_name)
    merged = merge_tables(loaded, space)
    with making_table(output):
        require_table_or_nothing(output)
        save_table(merged, output)
    print_table_summary(merged, output, space)


@app.command()
def plot(
    path: Annotated[Path, typer.Argument(help="The table's file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture's file, .png, .svg or .pdf.")],
    space_name: TableSpace = None,
) -> None:
    """Draw predicted against measured latencies with the 5 % band."""
    from hwnas.pipeline.table_space import space_of
    from hwnas.trust import contradictions
    from lut import load_table
    from lut.plot import plot_table

    table = load_table(path)
    space = space_of(table, path, space_name)
    plot_table(table, space, output)
    for line in contradictions(table, space):
        print(f"warning: {line}")
    print(output)


@app.command("import")
def import_(
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help="once-for-all or proxylessnas.")],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The published table.")],
    output: TableFile,
    accept_table: Annotated[bool, typer.Option("--accept-table", help="Take it though it lacks blocks.")] = False,
) -> None:
    """Read a table that others published; it has no certificate."""
    from hwnas.profiling import making_table, require_table_or_nothing
    from lut import save_table
    from lut.importers import import_table
    from search_spaces import make_space

    with making_table(output):
        require_table_or_nothing(output)
        table = import_table(format_name, path, may_be_partial=accept_table)
        save_table(table, output)
    print_table_summary(table, output, make_space(table.space))


app.command()(adapt.adapt)
