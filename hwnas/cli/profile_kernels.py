"""`hwnas profile --kernels`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hwnas.cli.predict import describe_kernels
from hwnas.errors import RequestError
from hwnas.profiling import fixed_models, making_table, shown
from hwnas.progress import Reporter
from hwnas.quantities import counted, parse_image_size
from lut.errors import TableError
from lut.kernel_build import measure_kernels
from lut.kernel_file import load_kernels, save_kernels
from profilers import Profiler
from profilers.device import adjusted, find_device, require_measurable

if TYPE_CHECKING:
    from hwnas.cli.arguments import DeviceFlags, ShapeFlags
    from hwnas.cli.profile import Measured, ProfileFlags
    from lut.kernel_table import KernelTable

VISITS = 40
"""Visits of each model with the runtime's profiler, and as many without, unless others are given."""

OF_KERNELS = {"models", "kernels", "input_size", "threads", "rounds", "seed"}
"""Fields of the records of flags that act with --kernels; the others belong to search spaces."""


def profile_kernels(
    what: Measured,
    output: Path,
    on: DeviceFlags,
    shape: ShapeFlags,
    work: ProfileFlags,
    *,
    is_dry: bool,
    is_fresh: bool,
    is_quiet: bool,
) -> None:
    """Measure the kernels of ONNX models into a table, unless it is there already, and print what it is.

    Raises:
        RequestError: no model is named, or a flag is given that does nothing for kernels.
    """
    paths = what.models or []
    if not what.kernels:
        raise RequestError(f"{paths[0]}: expected --kernels beside files of models, whose fused operators it measures")
    if not paths:
        raise RequestError("--kernels: expected files of ONNX models, found none")
    if idle := [*_idle(what), *_idle(shape), *_idle(work)]:
        raise RequestError(f"{', '.join(idle)}: expected no --kernels, beside which it does nothing")
    device = adjusted(find_device(on.device, on.devices), threads=work.threads)
    require_measurable(device)
    profiler = Profiler(device=device, rounds=work.rounds or VISITS, seed=work.seed or 0)
    if is_dry:
        print(f"the fused operators of {counted(len(paths), 'model')} on {device.name}, {profiler.rounds} visits each")
        if output.exists():
            print(f"{output} is there: it would be {'measured again' if is_fresh else 'checked, and nothing measured'}")
        return
    size = shape.input_size if shape.input_size != type(shape)().input_size else None
    _print(_table(paths, output, profiler, size, is_fresh=is_fresh, is_quiet=is_quiet), output)


def _idle(flags: object) -> Iterator[str]:
    """Yield the flags of a record that differ from what they are unless they are given, and do nothing for kernels."""
    usual = type(flags)()
    for field in fields(flags):  # type: ignore[arg-type]
        if field.name not in OF_KERNELS and getattr(flags, field.name) != getattr(usual, field.name):
            yield f"--{field.name.replace('_', '-')}"


def _table(
    paths: list[Path], output: Path, profiler: Profiler, size: str | None, *, is_fresh: bool, is_quiet: bool
) -> KernelTable:
    """Return the table in a file, measured first where it is not there yet or is wanted anew."""
    reporter = Reporter(is_quiet=is_quiet)
    with making_table(output), tempfile.TemporaryDirectory() as scratch:
        if output.exists() and not is_fresh:
            table = load_kernels(output)
            _require_same(table, paths, profiler, output)
            reporter.line(f"{output} is complete; --fresh measures it again")
            return table
        models = fixed_models(paths, Path(scratch), None if size is None else parse_image_size(size))
        with shown(reporter, "profile", profiler.rounds) as on_progress:
            profiler.on_progress = on_progress
            table = measure_kernels(models, profiler)
        save_kernels(table, output)
        return table


def _require_same(table: KernelTable, paths: list[Path], profiler: Profiler, output: Path) -> None:
    """Raise TableError where a whole table is of other models or of another device than what is asked for."""
    names = {*(m.name for m in table.models), *table.failures}
    if names != {str(path) for path in paths}:
        raise TableError(f"{output} is complete, of other models; --fresh measures it again, another --output keeps it")
    table.require_device(profiler.device, table.worker, name=str(output))


def _print(table: KernelTable, output: Path) -> None:
    worker = table.worker
    print(f"{output}: on {table.device['name']} ({worker.get('cpu_model')}, {table.device['threads']} threads)")
    print(f"  {describe_kernels(table)}")
    for name, why in table.failures.items():
        print(f"  failed: {name}: {why}")
    if table.failures:
        raise typer.Exit(1)
