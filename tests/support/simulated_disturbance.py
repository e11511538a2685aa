"""What comes on top of how long a simulated model takes: frequency steps, neighbours, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from simulated_machine import Machine

STRETCH_VISITS = 300
"""Mean number of visits that a lower frequency or a busy neighbour lasts."""

SLICE_NS = 3e6
"""How long a core is kept before the other program in a burst gets it."""

OUTLIERS = 0.01
"""Share of samples that take up to half as long again, from interrupts and the like."""

TIMER_NS = 500.0
"""What reading the CPU clock takes, counted by that clock itself."""


def conditions(machine: Machine, num: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[2, num] whether the clock is slow, and the neighbour at it, at so many visits after one another."""
    return np.array([_stretches(rng, num, share) for share in (machine.slow_share, machine.neighbour_share)])


def samples_ns(
    machine: Machine, run_ns: NDArray[np.float64], is_busy: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wall-clock and CPU nanoseconds of runs whose undisturbed times are known, all of one shape."""
    is_outlier = rng.random(run_ns.shape) < OUTLIERS
    outliers = 1 + is_outlier * rng.uniform(0.05, 0.5, run_ns.shape)
    cpu_ns = run_ns * outliers * np.exp(machine.noise * rng.standard_normal(run_ns.shape))
    wall_ns = cpu_ns
    if machine.neighbour == "bursts":
        num_lost = is_busy * rng.poisson(cpu_ns / SLICE_NS)
        wall_ns = cpu_ns + num_lost * rng.uniform(0.2, 1.0, run_ns.shape) * SLICE_NS
        cpu_ns = cpu_ns * (1 + 0.02 * np.minimum(num_lost, 3))  # comes back to colder caches
    return wall_ns, cpu_ns + TIMER_NS


def restart_factors(machine: Machine, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """What opening models anew changes: where they lie in memory."""
    return np.exp(machine.restart_noise * rng.standard_normal(shape))


def _stretches(rng: np.random.Generator, num: int, share: float) -> NDArray[np.bool_]:
    """[num] alternating stretches, on for this share of the time."""
    if share == 0:
        return np.zeros(num, dtype=bool)
    on, off = STRETCH_VISITS, STRETCH_VISITS * (1 - share) / share
    pairs = 8 + 4 * int(num / (on + off))
    lengths = rng.exponential([[off, on]] * pairs).astype(int) + 1
    states = np.repeat(np.tile([False, True], pairs), lengths.ravel())
    return np.resize(np.roll(states, int(rng.integers(len(states)))), num)
