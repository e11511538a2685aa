"""`hwnas profile`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.completion import names_of, one_of, precisions
from hwnas.cli.ranges import ranged

if TYPE_CHECKING:
    from lut.build import TablePlan
    from profilers import Profiler

NUM_NETWORKS, ROUNDS = 50, 80
"""Numbers of networks and of rounds that are measured unless others are given."""


def profile(
    output: Annotated[Path, typer.Option("--output", "-o", help="The table's file.")],
    space: Annotated[
        str, typer.Option(help="Search space; see hwnas spaces.", autocompletion=names_of("space"))
    ] = "fbnet-s",
    device: Annotated[str, typer.Option(help="Device; see hwnas devices.", autocompletion=names_of("device"))] = "cpu",
    devices: Annotated[Path | None, typer.Option(help="A devices file of your own.")] = None,
    input_size: Annotated[int, ranged("input_size", "Pixels a side.")] = 224,
    channels: Annotated[int, ranged("channels", "Colour planes of the input.")] = 3,
    classes: Annotated[int | None, ranged("classes", "Number of classes [1000, or 10 up to 64 pixels].")] = None,
    width: Annotated[float, ranged("width", "Width multiplier.")] = 1.0,
    threads: Annotated[int | None, ranged("threads", "Threads, instead of the device's own.")] = None,
    batch: Annotated[int | None, ranged("batch", "Batch size, instead of the device's own.")] = None,
    precision: Annotated[str, typer.Option(help="fp32 or int8.", autocompletion=precisions)] = "fp32",
    tuning: Annotated[
        str | None,
        typer.Option(
            help="none or meta_schedule (see hwnas tune), instead of the device's own.",
            autocompletion=one_of(("none", "meta_schedule")),
        ),
    ] = None,
    networks: Annotated[
        int | None,
        ranged("networks", "Whole networks to calibrate and certify with; 0 for none [50]."),
    ] = None,
    rounds: Annotated[int | None, ranged("rounds", "Interleaved rounds to measure at most [80].")] = None,
    max_minutes: Annotated[float, ranged("max_minutes", "Stop measuring after that long.")] = 60.0,
    memory_mb: Annotated[
        float | None, ranged("memory_mb", "Memory for opened models [half of what is available].")
    ] = None,
    seed: Annotated[int | None, ranged("seed", "Order of visits, and which networks [0].")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only say how much work it would be.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue what is there, or discard it and start again.")
    ] = True,
    quiet: Annotated[bool, typer.Option(help="No progress.")] = False,
) -> None:
    """Measure every candidate block of a search space on a device into a latency table.

    Ends with exit code 1 where search could not use the table; it is kept all the same.
    """
    from hwnas.cli.lut import print_table_summary
    from hwnas.profiling import describe_plan, known_precision, making_table, profile_space
    from hwnas.progress import Reporter
    from hwnas.trust import shortfall
    from lut import load_table, plan_table
    from lut.build import journal_beside, require_extent
    from profilers import Profiler
    from profilers.device import adjusted, find_device
    from search_spaces import SpaceSpec, make_space
    from search_spaces.space import SMALL_INPUT

    reporter = Reporter(is_quiet=quiet)
    num_classes = classes or (10 if input_size <= SMALL_INPUT else 1000)
    spec = SpaceSpec(name=space, input_size=input_size, in_channels=channels, num_classes=num_classes, width=width)
    chosen = adjusted(find_device(device, devices), threads=threads, batch=batch, tuning=tuning)
    made = make_space(spec)
    most_rounds = ROUNDS if rounds is None else rounds
    plan = plan_table(
        made,
        rounds=most_rounds,
        num_networks=NUM_NETWORKS if networks is None else networks,
        batch=chosen.batch,
        precision=known_precision(precision),
        seed=seed or 0,
    )
    profiler = Profiler(device=chosen, rounds=most_rounds, max_minutes=max_minutes, memory_mb=memory_mb, seed=seed or 0)
    if dry_run:
        print(describe_plan(made, plan, profiler))
        for line in _consequences(plan, profiler, output, resume=resume):
            print(line)
        return
    with making_table(output):
        if not resume:
            output.unlink(missing_ok=True)
            journal_beside(output).unlink(missing_ok=True)
        if output.exists():
            table = load_table(output)
            table.require_origin(spec, chosen, precision=precision, name=str(output))
            require_extent(table, made, networks=networks, seed=seed, rounds=rounds, name=str(output))
            journal_beside(output).unlink(missing_ok=True)  # of a process that was killed before it could
            reporter.line(f"{output} is complete; --fresh measures it again")
        else:
            table = profile_space(made, output, plan, profiler=profiler, reporter=reporter, is_fresh=not resume)
    print_table_summary(table, output, made)
    if (problem := shortfall(table, made, name=str(output), may_lack_certificate=networks == 0)) is not None:
        print(problem)
        raise typer.Exit(1)


def _consequences(plan: TablePlan, profiler: Profiler, output: Path, *, resume: bool) -> Iterator[str]:
    """Yield what limits the work of a plan, and what becomes of what is there already."""
    from lut.build import journal_beside

    if plan.estimated_s > 60 * profiler.max_minutes:
        yield f"measuring would end after {profiler.max_minutes:g} min"
    if profiler.memory_mb is not None and plan.estimated_mb > profiler.memory_mb:
        yield f"the models would be opened in groups, of about {profiler.memory_mb:g} MB each"
    kept = [path for path in (output, journal_beside(output)) if path.exists()]
    if kept and not resume:
        yield f"{output} would be measured again, and what is there discarded"
    elif output in kept:
        yield f"{output} is there: it would be checked, and nothing measured; --fresh would measure it again"
    elif kept:
        yield f"what is measured of {output} already would be kept; --fresh would discard it"
