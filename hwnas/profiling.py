"""Measuring with progress shown: tables of search spaces, and whole networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from hwnas.errors import RunError
from hwnas.progress import Reporter
from lut import LatencyTable, build_table, plan_blocks
from profilers import Device, Model, Profiler
from profilers.estimate import estimate_ms
from search_spaces import SearchSpace


def onnx_cache() -> Path:
    """Where exported blocks are kept between runs."""
    return user_cache_path("hwnas") / "onnx"


def profile_space(
    space: SearchSpace, device: Device, path: Path, *, rounds: int, seed: int, reporter: Reporter
) -> LatencyTable:
    """Build the space's table on the device, saying first how much work it is and then how far it is."""
    plan = plan_blocks(space, rounds=rounds, batch=device.batch)
    reporter.line(
        f"profiling {space.spec} on {device.name}: {len(plan.blocks)} distinct blocks for {plan.num_positions} "
        f"layer choices, {rounds} rounds, about {max(1, round(plan.estimated_s))} s on a server core"
    )
    with _shown(reporter, "profile", rounds) as on_progress:
        return build_table(
            space,
            device,
            path,
            profiler=Profiler(device=device, rounds=rounds, seed=seed, on_progress=on_progress),
            onnx_folder=onnx_cache(),
            on_export=lambda done, total: on_progress("export", done, total),
        )


def measure_networks(
    networks: Mapping[str, Path], device: Device, journal: Path, *, rounds: int, seed: int, reporter: Reporter
) -> dict[str, float]:
    """Milliseconds per forward pass of whole networks, measured interleaved with each other.

    Raises:
        RunError: one of them cannot be measured.
    """
    models = [Model(key=name, path=path) for name, path in networks.items()]
    with _shown(reporter, "measure", rounds) as on_progress:
        result = Profiler(device=device, rounds=rounds, seed=seed, on_progress=on_progress).measure(models, journal)
    if failed := [m for m in result.measurements if m.error is not None]:
        raise RunError(f"cannot measure {failed[0].key} on {device.name}: {failed[0].error}")
    return estimate_ms(result.measurements)


@contextmanager
def _shown(reporter: Reporter, name: str, rounds: int) -> Iterator[Callable[[str, int, int], None]]:
    """A bar over the rounds, which says what is prepared before they begin."""
    with reporter.task(name, rounds) as task:
        yield lambda phase, done, total: task.update(
            done if phase == "round" else 0, "" if phase == "round" else f"{phase} {done}/{total}"
        )
