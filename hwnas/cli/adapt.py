"""`hwnas lut adapt`: a table for a new device from others and a few measured networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.arguments import Batch, DeviceFlags, Quiet, Threads, device_named
from hwnas.cli.completion import precisions
from hwnas.cli.ranges import ranged
from hwnas.cli.table_space import TableSpace
from hwnas.cli.table_summary import print_table_summary

if TYPE_CHECKING:
    from lut import LatencyTable
    from lut.adapt_from import Source
    from profilers import Device
    from search_spaces import SearchSpace

NUM_NETWORKS = 20
NUM_HELD_OUT = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class NewDevice(DeviceFlags):
    """The device and the setting that a table is adapted to."""

    device: Annotated[str, device_named("The new device; see hwnas devices.")] = "cpu"
    threads: Threads = None
    batch: Batch = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptFlags:
    """The measurements that adapt a table."""

    precision: Annotated[
        str | None, typer.Option(help="fp32 or int8 [the first table's].", autocompletion=precisions)
    ] = None
    networks: Annotated[
        int,
        ranged("networks_to_adapt", "Whole networks to measure; with --from those that a model chooses to learn from."),
    ] = NUM_NETWORKS
    held_out: Annotated[
        int | None, ranged("networks", "With --from, further networks that only certify the table [10].")
    ] = None
    rounds: Annotated[int, ranged("rounds", "Interleaved rounds to measure at most.")] = 80
    seed: Annotated[int, ranged("seed", "Which networks, and the order of visits.")] = 0


def adapt(
    tables: Annotated[
        list[Path] | None, typer.Argument(help="A table of the same space, of another device or setting.")
    ] = None,
    *,
    known: Annotated[
        list[Path] | None,
        typer.Option("--from", help="A known device's table; those of others may follow: --from a.json b.json c.json."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The new table's file.")],
    to: NewDevice,
    work: AdaptFlags,
    space_name: TableSpace = None,
    quiet: Quiet = False,
) -> None:
    """Make a table for a new device or setting from another table, or several, and a few measured networks."""
    from hwnas.cli.idle_flags import refuse_beside
    from hwnas.errors import RequestError
    from hwnas.pipeline.table_space import space_of
    from hwnas.trust import shortfall
    from lut import load_table
    from lut.adapt import advice
    from lut.adapt_from import Source
    from profilers.device import adjusted, find_device

    paths = [*(known or []), *(tables or [])]
    if not paths:
        raise RequestError("expected a table to adapt, found none: hwnas lut adapt TABLE -o NEW, or --from TABLE")
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise RequestError(f"{twice[0]} was given twice; leave one of the two out")
    if output.is_file():
        raise RequestError(f"{output} is there already; give another file with -o")
    is_from_several = known is not None or len(paths) > 1
    if not is_from_several:
        refuse_beside("single table without --from", held_out=work.held_out)
    sources = [Source(name=str(path), table=load_table(path)) for path in paths]
    space = space_of(sources[0].table, paths[0], space_name)
    device = adjusted(find_device(to.device, to.devices), threads=to.threads, batch=to.batch)
    make = _from_several if is_from_several else _from_one
    adapted = make(sources, space, output, work, device=device, quiet=quiet)
    print_table_summary(adapted, output, space)
    if not is_from_several or adapted.certificate is not None:
        print(f"  {advice(adapted)}")
    elif work.held_out == 0:
        print("  not certified: no network was held out; --held-out 10 measures some that nothing is learnt from")
    if (problem := shortfall(adapted, space, name=str(output), may_lack_certificate=work.held_out == 0)) is not None:
        print(problem)
        raise typer.Exit(1)


def _from_one(
    sources: list[Source], space: SearchSpace, output: Path, work: AdaptFlags, *, device: Device, quiet: bool
) -> LatencyTable:
    from hwnas.profiling import known_precision, making_table, onnx_cache, shown
    from hwnas.progress import Reporter
    from lut import plan_table
    from lut.adapt import adapt_table
    from profilers import Profiler

    base, rounds, seed = sources[0].table, work.rounds, work.seed
    kind = known_precision(work.precision or base.provenance.precision)
    plan = plan_table(space, rounds=rounds, num_networks=work.networks, batch=device.batch, precision=kind, seed=seed)
    with making_table(output), shown(Reporter(is_quiet=quiet), "adapt", rounds) as on_progress:
        profiler = Profiler(device=device, rounds=rounds, seed=seed, on_progress=on_progress)
        return adapt_table(base, space, output, plan, profiler=profiler, onnx_folder=onnx_cache())


def _from_several(
    sources: list[Source], space: SearchSpace, output: Path, work: AdaptFlags, *, device: Device, quiet: bool
) -> LatencyTable:
    from hwnas.profiling import known_precision, making_table, onnx_cache, shown
    from hwnas.progress import Reporter
    from hwnas.trust import describe_uncertified
    from lut.adapt_from import FewShotPlan, adapt_from
    from profilers import Profiler

    reporter = Reporter(is_quiet=quiet)
    for source in sources:
        if source.table.certificate is None:
            reporter.warn(describe_uncertified(source.table, name=source.name))
    plan = FewShotPlan(
        num_networks=work.networks,
        num_held_out=NUM_HELD_OUT if work.held_out is None else work.held_out,
        precision=known_precision(work.precision or sources[0].table.provenance.precision),
        seed=work.seed,
    )
    with making_table(output), shown(reporter, "adapt", work.rounds) as on_progress:
        profiler = Profiler(device=device, rounds=work.rounds, seed=work.seed, on_progress=on_progress)
        return adapt_from(sources, space, output, plan, profiler=profiler, onnx_folder=onnx_cache())
