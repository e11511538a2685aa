"""Measuring with progress shown: tables of search spaces, and whole networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

from platformdirs import user_cache_path

from hwnas.errors import RequestError, RunError
from hwnas.progress import Reporter
from lut import LatencyTable, build_table
from lut.build import TablePlan
from lut.precision import Precision
from profilers import Device, Model, Profiler
from profilers.estimate import estimate_ms
from search_spaces import SearchSpace

UNTUNED = (
    "\nwarning: TVM's schedules are not tuned for this device: they are many times slower than tuned ones and rank "
    "blocks unreliably; see hwnas tune"
)


def onnx_cache() -> Path:
    """Where exported blocks are kept between runs."""
    return user_cache_path("hwnas") / "onnx"


def known_precision(name: str) -> Precision:
    """The precision of that name.

    Raises:
        RequestError: there is none.
    """
    if name not in get_args(Precision):
        raise RequestError(f"unknown precision {name!r}; there are: {', '.join(get_args(Precision))}")
    return cast(Precision, name)


def profile_space(
    space: SearchSpace, path: Path, plan: TablePlan, *, profiler: Profiler, reporter: Reporter
) -> LatencyTable:
    """Build the space's table on the profiler's device, saying first how much work it is and then how far it is."""
    reporter.line(describe_plan(space, plan, profiler))
    with shown(reporter, "profile", profiler.rounds) as on_progress:
        return build_table(
            space,
            path,
            plan,
            profiler=replace(profiler, on_progress=on_progress),
            onnx_folder=onnx_cache(),
            on_export=lambda done, total: on_progress("export", done, total),
        )


def describe_plan(space: SearchSpace, plan: TablePlan, profiler: Profiler) -> str:
    """One line on the work ahead."""
    minutes = plan.estimated_s / 60
    return (
        f"profiling {space.spec} on {profiler.device.name}, {plan.precision}: {len(plan.blocks)} distinct blocks for "
        f"{plan.num_positions} layer choices and {len(plan.networks)} whole networks, up to {profiler.rounds} rounds, "
        f"about {minutes:.1f} min on a server core, {plan.estimated_mb:.0f} MB"
        + (UNTUNED if profiler.device.runtime == "tvm" and profiler.device.tuning == "none" else "")
    )


def measure_networks(
    networks: Mapping[str, Path], device: Device, journal: Path, *, rounds: int, seed: int, reporter: Reporter
) -> dict[str, float]:
    """Milliseconds per forward pass of whole networks, measured interleaved with each other.

    Raises:
        RunError: one of them cannot be measured.
    """
    models = [Model(key=name, path=path) for name, path in networks.items()]
    with shown(reporter, "measure", rounds) as on_progress:
        result = Profiler(device=device, rounds=rounds, seed=seed, on_progress=on_progress).measure(models, journal)
    if failed := [m for m in result.measurements if m.error is not None]:
        raise RunError(f"cannot measure {failed[0].key} on {device.name}: {failed[0].error}")
    return estimate_ms(result.measurements)


@contextmanager
def shown(reporter: Reporter, name: str, rounds: int) -> Iterator[Callable[[str, int, int], None]]:
    """A bar over the rounds, which says what is prepared before they begin."""
    with reporter.task(name, rounds) as task:
        rounds_done = 0

        def show(phase: str, done: int, total: int) -> None:
            nonlocal rounds_done
            if phase == "round":
                rounds_done = done
            task.update(rounds_done, "" if phase == "round" else f"{phase} {done}/{total}")

        yield show
