"""`hwnas profile --kernels`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hwnas.cli.predict import describe_kernels
from hwnas.profiling import fixed_models, making_table, shown
from hwnas.progress import Reporter
from hwnas.quantities import counted
from lut.errors import TableError
from lut.kernel_build import measure_kernels
from lut.kernel_file import load_kernels, save_kernels
from profilers import Profiler

if TYPE_CHECKING:
    from lut.kernel_table import KernelTable
    from onnx_models.image_size import ImageSize


def profile_kernels(
    paths: list[Path],
    output: Path,
    profiler: Profiler,
    size: ImageSize,
    *,
    is_dry: bool,
    is_fresh: bool,
    is_quiet: bool,
) -> None:
    """Measure the kernels of ONNX models into a table, unless it is there already, and print what it is."""
    if is_dry:
        name, rounds = profiler.device.name, profiler.rounds
        print(f"the fused operators of {counted(len(paths), 'model')} on {name}, {rounds} visits each")
        if output.exists():
            print(f"{output} is there: it would be {'measured again' if is_fresh else 'checked, and nothing measured'}")
        return
    _print(_table(paths, output, profiler, size, is_fresh=is_fresh, is_quiet=is_quiet), output)


def _table(
    paths: list[Path], output: Path, profiler: Profiler, size: ImageSize, *, is_fresh: bool, is_quiet: bool
) -> KernelTable:
    """Return the table in a file, measured first where it is not there yet or is wanted anew."""
    reporter = Reporter(is_quiet=is_quiet)
    with making_table(output), tempfile.TemporaryDirectory() as scratch:
        if output.exists() and not is_fresh:
            table = load_kernels(output)
            _require_same(table, paths, profiler, output)
            reporter.line(f"{output} is complete; --fresh measures it again")
            return table
        models = fixed_models(paths, Path(scratch), size)
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
