"""`hwnas profile`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.arguments import Batch, DeviceFlags, Quiet, ShapeFlags, SpaceName, TableFile, Threads
from hwnas.cli.completion import one_of, precisions
from hwnas.cli.ranges import ranged

if TYPE_CHECKING:
    from hwnas.table_request import TableRequest
    from lut.build import TablePlan
    from onnx_models.image_size import ImageSize
    from profilers import Profiler
    from search_spaces import SearchSpace

KERNEL_VISITS = 40
"""Visits of each model with the runtime's profiler, and as many without, unless others are given."""

OF_KERNELS = {"models", "kernels", "input_size", "threads", "rounds", "seed"}
"""Fields of the records of flags that act with --kernels; the others belong to search spaces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileFlags:
    """Settings of the device, and of the work on it.

    Attributes:
        networks: None where the number is not given, which a complete table need not have then; likewise rounds, seed.
    """

    threads: Threads = None
    batch: Batch = None
    precision: Annotated[str, typer.Option(help="fp32 or int8.", autocompletion=precisions)] = "fp32"
    tuning: Annotated[
        str | None,
        typer.Option(
            help="none or meta_schedule (see hwnas tune), instead of the device's own.",
            autocompletion=one_of(("none", "meta_schedule")),
        ),
    ] = None
    networks: Annotated[
        int | None, ranged("networks", "Whole networks to calibrate and certify with; 0 for none [50].")
    ] = None
    rounds: Annotated[int | None, ranged("rounds", "Interleaved rounds to measure at most [80].")] = None
    max_minutes: Annotated[float, ranged("max_minutes", "Stop measuring after that long.")] = 60.0
    memory_mb: Annotated[float | None, ranged("memory_mb", "Memory for opened models [half of what is available].")] = (
        None
    )
    percentile: Annotated[
        int | None, ranged("percentile", "Measure often enough to certify this percentile too: 95 or 99.")
    ] = None
    seed: Annotated[int | None, ranged("seed", "Order of visits, and which networks [0].")] = None

    @property
    def request(self) -> TableRequest:
        """The work that a table is to be made with.

        Raises:
            RequestError: there is no such precision.
        """
        from hwnas.profiling import known_precision
        from hwnas.table_request import TableRequest

        return TableRequest(
            precision=known_precision(self.precision),
            networks=self.networks,
            rounds=self.rounds,
            max_minutes=self.max_minutes,
            memory_mb=self.memory_mb,
            percentile=self.percentile,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Says what is measured: the blocks of a search space, or the kernels of models.

    Attributes:
        models: None where none is given.
    """

    models: Annotated[list[Path] | None, typer.Argument(help="ONNX files, with --kernels.")] = None
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Measure the fused operators of the models that are named.")
    ] = False
    space: SpaceName = "fbnet-s"


def profile(
    output: TableFile,
    *,
    what: Subject,
    on: DeviceFlags,
    shape: ShapeFlags,
    work: ProfileFlags,
    dry_run: Annotated[bool, typer.Option(help="Only say how much work it would be.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue what is there, or discard it and start again.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Measure every candidate block of a search space on a device into a latency table.

    Ends with exit code 1 where search could not use the table; it is kept all the same. With --kernels it measures the
    fused operators of ONNX models, for hwnas predict.
    """
    from hwnas.cli.profile_kernels import profile_kernels
    from hwnas.cli.table_summary import print_table_summary
    from hwnas.progress import Reporter
    from hwnas.trust import shortfall
    from profilers.device import adjusted, find_device
    from search_spaces import make_space

    if what.kernels or what.models:
        kernels, size = _of_kernels(what, on, shape, work)
        paths = what.models or []
        profile_kernels(paths, output, kernels, size, is_dry=dry_run, is_fresh=not resume, is_quiet=quiet)
        return
    device = find_device(on.device, on.devices)
    chosen = adjusted(device, threads=work.threads, batch=work.batch, tuning=work.tuning)
    made = make_space(shape.spec(what.space))
    request = work.request
    profiler = request.profiler(chosen)
    if dry_run:
        _say_what_would_happen(made, request.plan(made, profiler), profiler, output, resume=resume)
        return
    table = request.made(made, output, profiler, is_fresh=not resume, reporter=Reporter(is_quiet=quiet))
    print_table_summary(table, output, made)
    if (problem := shortfall(table, made, name=str(output), may_lack_certificate=work.networks == 0)) is not None:
        print(problem)
        raise typer.Exit(1)


def _of_kernels(what: Subject, on: DeviceFlags, shape: ShapeFlags, work: ProfileFlags) -> tuple[Profiler, ImageSize]:
    """Return what measures kernels, and the size of images of models that leave it free.

    Raises:
        RequestError: no model is named, or a flag is given that does nothing for kernels.
    """
    from hwnas.errors import RequestError
    from profilers import Profiler
    from profilers.device import adjusted, find_device, require_measurable

    if not what.kernels:
        raise RequestError("files of models: expected --kernels beside them, whose fused operators it measures")
    if not what.models:
        raise RequestError("--kernels: expected files of ONNX models, found none")
    if idle := [*_idle(what), *_idle(shape), *_idle(work)]:
        raise RequestError(f"{', '.join(idle)}: expected no --kernels, beside which it does nothing")
    device = adjusted(find_device(on.device, on.devices), threads=work.threads)
    require_measurable(device)
    profiler = Profiler(device=device, rounds=work.rounds or KERNEL_VISITS, seed=work.seed or 0)
    return profiler, shape.size


def _idle(flags: Subject | ShapeFlags | ProfileFlags) -> Iterator[str]:
    """Yield the flags of a record that were given, and do nothing for kernels."""
    usual = type(flags)()
    for field in fields(flags):
        if field.name not in OF_KERNELS and getattr(flags, field.name) != getattr(usual, field.name):
            yield f"--{field.name.replace('_', '-')}"


def _say_what_would_happen(
    space: SearchSpace, plan: TablePlan, profiler: Profiler, output: Path, *, resume: bool
) -> None:
    """Print the work of a plan, what limits it, and what becomes of what is there already."""
    from hwnas.profiling import describe_plan

    print(describe_plan(space, plan, profiler))
    for line in _consequences(plan, profiler, output, resume=resume):
        print(line)


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
