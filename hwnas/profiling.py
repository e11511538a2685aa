"""Measuring with progress shown: tables of search spaces, and whole networks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import numpy as np
from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from hwnas.errors import RequestError, RunError
from hwnas.measured import Measured
from hwnas.progress import Reporter
from lut import LatencyTable, TableError, build_table, load_table
from lut.build import TablePlan, require_writable
from lut.references import References
from onnx_models.image_size import ImageSize, height_width
from onnx_models.precision import Precision
from profilers import Device, Measurement, Model, Profiler
from profilers.estimate import estimate_ms, split_half_errors
from profilers.runtime import runtime_of
from profilers.tails import LEAST_RUNS, MEDIAN, PERCENTILES, known_tails_ms, percentile_name, split_half_tail_error
from safe_files import explaining, forget_drafts
from search_spaces import SearchSpace

UNTUNED = (
    "\nwarning: TVM's schedules are not tuned for this device: they are many times slower than tuned ones and rank "
    "blocks unreliably; see hwnas tune"
)

NO_REFERENCES = References()

NOTABLE_DRIFT = 0.03
"""A machine that is faster or slower by less, or by less than repeats differ by, is not worth a word."""


def onnx_cache() -> Path:
    """Return the folder where exported blocks are kept between runs; it is made where it is not there.

    What killed processes left unfinished there is removed.

    Raises:
        RunError: it cannot be made or written to.
    """
    folder = user_cache_path("hwnas") / "onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise RunError(
            f"expected a folder for exported blocks that can be written to, found {folder}: {error.strerror}; "
            "name another place with XDG_CACHE_HOME"
        ) from error
    forget_drafts(folder)
    return folder


@contextmanager
def making_table(path: Path) -> Iterator[None]:
    """Make a table at `path` meanwhile; no other process may make one there.

    Raises:
        RequestError: another process does, or the folder cannot be written to.
        WriteError: there is no room.
    """
    require_writable(path)
    lock_path = path.with_name(f".{path.name}.lock")
    lock = FileLock(lock_path, timeout=0)
    try:
        with explaining(lock_path):
            lock.acquire()
    except Timeout as error:
        raise RequestError(f"another process makes the table {path}; wait for it or give another output") from error
    try:
        forget_drafts(path.parent, of=path.name)
        yield
    finally:
        with suppress(OSError):
            lock_path.unlink()  # while it is held: who opened it meanwhile finds that out, and makes it anew
        lock.release()


def require_table_or_nothing(path: Path) -> None:
    """Make sure that a table which is written to `path` takes the place of no other file than a table.

    Raises:
        RequestError: another file is there, or a table that cannot be read.
    """
    if not path.is_file():
        return  # of a folder, a pipe or a device `making_table` says that it is in the way
    try:
        load_table(path)
    except TableError as error:
        raise RequestError(
            f"{path} would be lost: expected a latency table there or nothing, found neither; give another file with "
            f"-o, or remove this one ({error})"
        ) from error


def known_precision(name: str) -> Precision:
    """Return the precision of that name.

    Raises:
        RequestError: there is none.
    """
    if name not in get_args(Precision):
        raise RequestError(f"unknown precision {name!r}; there are: {', '.join(get_args(Precision))}")
    return cast(Precision, name)


def profile_space(
    space: SearchSpace,
    path: Path,
    plan: TablePlan,
    *,
    profiler: Profiler,
    reporter: Reporter,
    is_fresh: bool = False,
) -> LatencyTable:
    """Build the space's table on the profiler's device, saying first how much work it is and then how far it is.

    Args:
        is_fresh: export every block and network, whatever is kept of them.
    """
    reporter.line(describe_plan(space, plan, profiler))
    with shown(reporter, "profile", profiler.rounds) as on_progress:
        return build_table(
            space,
            path,
            plan,
            profiler=replace(profiler, on_progress=on_progress),
            onnx_folder=onnx_cache(),
            on_export=lambda done, total: on_progress("export", done, total),
            is_fresh=is_fresh,
        )


def describe_plan(space: SearchSpace, plan: TablePlan, profiler: Profiler) -> str:
    """Return one line on the work ahead."""
    minutes = plan.estimated_s / 60
    is_untuned = runtime_of(profiler.device.runtime).is_tunable and profiler.device.tuning == "none"
    device, threads = profiler.device.name, profiler.device.threads
    where = device if threads == 1 else f"{device} with {threads} threads"
    return (
        f"profiling {space.spec} on {where}, {plan.precision}: {len(plan.blocks)} distinct blocks for "
        f"{plan.num_positions} layer choices and {len(plan.networks)} whole networks, up to {profiler.rounds} rounds, "
        f"about {minutes:.1f} min on a server core, {plan.estimated_mb:.0f} MB" + (UNTUNED if is_untuned else "")
    )


def measure_networks(
    networks: Mapping[str, Path],
    device: Device,
    journal: Path,
    *,
    rounds: int,
    seed: int,
    reporter: Reporter,
    references: References = NO_REFERENCES,
    percentile: int = MEDIAN,
) -> dict[str, Measured]:
    """Measure whole networks interleaved with each other, and with a table's references where there are any.

    Says where the machine is faster or slower than when the table was made.

    Args:
        rounds: more are measured where the percentile takes more.
        percentile: that their latency is.

    Raises:
        RunError: one of them cannot be measured, or not often enough for the percentile.
    """
    models = [Model(key=name, path=path) for name, path in networks.items()]
    rounds = max(rounds, LEAST_RUNS[percentile])
    what = "measure" if percentile == MEDIAN else f"measure {percentile_name(percentile)}"
    with shown(reporter, what, rounds) as on_progress:
        profiler = Profiler(device=device, rounds=rounds, seed=seed, on_progress=on_progress)
        measurements = profiler.measure([*models, *references.models], journal).measurements
    if failed := [m for m in measurements if m.error is not None and m.key in networks]:
        raise RunError(f"cannot measure {failed[0].key} on {device.name}: {failed[0].error}")
    medians_ms = estimate_ms(measurements)
    drift = references.drift(medians_ms)
    if drift is not None and abs(drift - 1) > max(NOTABLE_DRIFT, _typical(split_half_errors(measurements))):
        reporter.line(f"the machine is {describe_drift(drift)} than when the table was made")
    halves = _differences_of_halves(measurements, percentile)
    found = {}
    for measurement in (m for m in measurements if m.key in networks):
        known_ms = _percentiles_ms(measurement, medians_ms[measurement.key], device, percentile)
        found[measurement.key] = Measured(
            latency_ms=known_ms[percentile],
            repeatability=max(halves.get(measurement.key, 0.0), _typical(halves)),
            drift=drift,
            **{f"{percentile_name(p)}_ms": known_ms.get(p) for p in PERCENTILES},
        )
    return found


def _differences_of_halves(measurements: Sequence[Measurement], percentile: int) -> dict[str, float]:
    """Return by key what a percentile of odd and of even restarts differs by, relative."""
    if percentile == MEDIAN:
        return split_half_errors(measurements)
    return {m.key: split_half_tail_error(m, percentile) for m in measurements if m.num_samples >= 2}


def _typical(errors: Mapping[str, float]) -> float:
    return float(np.median(list(errors.values()))) if errors else 0.0


def _percentiles_ms(measurement: Measurement, median_ms: float, device: Device, needed: int) -> dict[int, float]:
    """Return a network's median, and the tail percentiles that its samples are enough for."""
    found = {MEDIAN: median_ms, **known_tails_ms(measurement)}
    if needed not in found:
        raise RunError(
            f"{percentile_name(needed)} of {measurement.key} takes {LEAST_RUNS[needed]} runs on {device.name}, "
            f"{measurement.num_samples} were made in the time there is; hold the budget on a lower percentile"
        )
    return found


def fixed_models(paths: Sequence[Path], folder: Path, size: ImageSize | None) -> list[Model]:
    """Return ONNX models with every dimension fixed, by the names of their files as they were given.

    Args:
        folder: for copies of those that leave a dimension free.
        size: what free dimensions of images are bound to; None where nobody said.

    Raises:
        RequestError: a file is there twice.
        ModelError: a file is no ONNX model, or leaves a size free that nobody said.
    """
    from onnx_models.binding import Sizes, bind
    from profilers.worker_onnxruntime import DTYPES

    if twice := [path for path in paths if list(paths).count(path) > 1]:
        raise RequestError(f"{twice[0]} was given twice; leave one of the two out")
    height, width = (None, None) if size is None else height_width(size)
    sizes = Sizes(side=height, width=width)
    models = []
    for number, path in enumerate(paths):
        scratch = folder / str(number)
        scratch.mkdir()
        models.append(Model(key=str(path), path=bind(path, scratch, sizes, types=DTYPES).fixed))
    return models


def describe_drift(drift: float) -> str:
    """Return how many per cent slower or faster the machine is, in words."""
    return f"{drift - 1:.0%} slower" if drift > 1 else f"{1 - drift:.0%} faster"


PREPARING = {"export": "exporting model", "open": "loading model"}
"""What goes before the first round of measurements, and between rounds where models do not fit together, in words."""


@contextmanager
def shown(reporter: Reporter, name: str, rounds: int) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar over the rounds meanwhile, which says what is prepared before they begin."""
    with reporter.task(name, rounds) as task:
        rounds_done = 0

        def show(phase: str, done: int, total: int) -> None:
            nonlocal rounds_done
            if phase == "round":
                rounds_done = done
            task.update(rounds_done, f"{PREPARING[phase]} {done} of {total}" if phase in PREPARING else "")

        yield show
