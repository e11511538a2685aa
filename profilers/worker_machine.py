"""Tells of the machine that a worker runs on: its cores and memory, heat, energy, and how fast it is just now.

Stands alone, as `worker_loop.py` does, which loads it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

POWERCAP = Path("/sys/class/powercap")
"""The folder where Linux shows the energy counters of Intel's and AMD's processors (RAPL)."""

ENERGY_S = 0.05
"""The seconds that a model is repeated for to tell its energy."""

PACE_SIZE = 48
PACE_PRODUCTS = 100
"""The fixed piece of work: that many products of square matrices of that size. They are 27 KB, which first-level caches
hold, and too small for libraries to use several threads; 0.3 ms on a server core."""

PACE_REPEATS = 5
"""The fastest of so many tells how fast the core is; whether it was lost, the samples tell."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def health() -> dict[str, object]:
    """Return temperature and free memory of the machine, None where the system does not tell."""
    return {"temperature_c": _number("/sys/class/thermal/thermal_zone0/temp", 1e-3), "free_mb": free_mb()}


def free_mb() -> float | None:
    """Return the memory that new programs may take."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    return None


class Throttling:
    """Tells whether the processor was slowed down for heat or for want of power since it was asked last."""

    def __init__(self, root: Path = Path("/sys/devices")) -> None:
        self._counters = sorted(root.glob("system/cpu/cpu*/thermal_throttle/core_throttle_count"))
        self._raspberry = root / "platform/soc/soc:firmware/get_throttled"
        self._before = self._count()

    def has_happened(self) -> bool:
        """Return whether the processor was slowed down, now or since the last call."""
        count, before = self._count(), self._before
        self._before = count
        return count > before or self._is_now()

    def _count(self) -> float:
        return sum(_number(str(path), 1.0) or 0.0 for path in self._counters)

    def _is_now(self) -> bool:
        # Bits 0 to 3 of a Raspberry Pi: under-voltage, capped, throttled, at the soft temperature limit.
        try:
            return bool(int(self._raspberry.read_text(encoding="utf-8"), 16) & 0xF)
        except (OSError, ValueError):
            return False


def _number(path: str, factor: float) -> float | None:
    try:
        return float(Path(path).read_text(encoding="utf-8")) * factor
    except (OSError, ValueError):
        return None


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def governor(cores: list[int] | None) -> str | None:
    """Return the frequency governor of the first core; None where the system does not tell."""
    path = Path(f"/sys/devices/system/cpu/cpu{(cores or [0])[0]}/cpufreq/scaling_governor")
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def energy_of(run: Callable[[], object], root: Path = POWERCAP, min_s: float = ENERGY_S) -> float | None:
    """Return the millijoules of one call, by the processor's own counters; None where the system shows none.

    The counters tick about once a millisecond and count everything that the processor does, so calls are repeated.
    """
    before = energy_counters(root)
    if not before:
        return None
    num, started = 0, time.perf_counter()
    while time.perf_counter() - started < min_s:
        run()
        num += 1
    after = energy_counters(root)
    if after.keys() != before.keys():
        return None
    spent_uj = sum((after[path][0] - before[path][0]) % (after[path][1] + 1) for path in before)
    return spent_uj / 1e3 / num if spent_uj > 0 else None


def energy_counters(root: Path) -> dict[str, tuple[int, int]]:
    """Return the microjoules so far of each processor package, and where the count starts over."""
    found = {}
    for folder in sorted(root.glob("*-rapl:[0-9]")):
        try:
            found[str(folder)] = (
                int((folder / "energy_uj").read_text(encoding="utf-8")),
                int((folder / "max_energy_range_uj").read_text(encoding="utf-8")),
            )
        except (OSError, ValueError):
            continue  # not ours to read: only root may, on most systems
    return found


def fastest_pace() -> tuple[int, int]:
    """Time a fixed piece of work; return wall-clock and CPU nanoseconds, the fastest of a few times."""
    left, right = (np.full((PACE_SIZE, PACE_SIZE), 0.5, dtype=np.float32) for _ in range(2))
    product = np.empty_like(left)
    found = []
    for _ in range(PACE_REPEATS):
        cpu_start, wall_start = time.thread_time_ns(), time.perf_counter_ns()
        for _ in range(PACE_PRODUCTS):
            np.matmul(left, right, out=product)
        wall_end, cpu_end = time.perf_counter_ns(), time.thread_time_ns()
        found.append((wall_end - wall_start, cpu_end - cpu_start))
    return min(found)


def paces(repeats: int, pause_s: float) -> dict[str, object]:
    """Time the fixed piece of work again and again, with pauses in between."""
    found = []
    for _ in range(repeats):
        time.sleep(pause_s)
        found.append(fastest_pace())
    return {"event": "pace", "wall_ns": [wall for wall, _ in found], "cpu_ns": [cpu for _, cpu in found]}
