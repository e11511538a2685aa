"""Whether the machine ran at its own speed while it measured: agreement between models does not tell, this does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profilers.estimate import BUSY_SHARE, Pool
from profilers.measurement import Measurement
from profilers.pace import Pace

TOLERATED = 0.15
"""Milliseconds that stand for a machine slowed by more are not to be believed. Tables made beside work on other cores
come to 1 to 7 % by the figures below, chance and a processor's short boosts included; three neighbours on the worker's
core, which made the fastest network four times as slow, to 90 %."""

TAIL = 0.02
"""Share of the visits, at the fastest, that tell what the machine is like when nothing disturbs it. Each stands for the
running median over its neighbours, so that a lucky sample is none of them."""

PACE_TAIL = 0.1
"""The same of the rounds' pace, of which there are far fewer."""

AFTER_TAIL = 0.25
"""The same of the repeats after the rounds."""

MIN_SAMPLES = 300
"""The number of samples below which no tail tells anything."""

MIN_ROUNDS = 10
"""The number of rounds below which pace tells nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slowdown:
    """The share by which the machine was slower than it can be, at the speed that the estimates stand for.

    None where it cannot be told.

    Attributes:
        by_samples: against the undisturbed tail of the samples, as a share: 0.5 takes half as long again.
        by_pace: against the fastest that the fixed piece of work kept up, in the rounds or after them.
        by_waiting: estimates against CPU time; above zero where most samples lost the core, so that waiting counts.
        preempted: share of samples during which the thread lost its core; mostly they count with their CPU time.
        spread: 95th over 5th percentile of what disturbed all models alike, less 1.
    """

    by_samples: float | None = None
    by_pace: float | None = None
    by_waiting: float | None = None
    preempted: float | None = None
    spread: float | None = None

    @property
    def by(self) -> float:
        """The worst of what can be told; 0 where nothing can."""
        return max([0.0, *(s for s in (self.by_samples, self.by_pace, self.by_waiting) if s is not None)])

    @property
    def is_believed(self) -> bool:
        """Whether estimates are what the machine takes when nothing disturbs it, as far as anything tells."""
        return self.by <= TOLERATED

    def sentence(self) -> str:
        """Return what it means for people who would go by the milliseconds."""
        if self.is_believed:
            is_known = (self.by_samples, self.by_pace, self.by_waiting) != (None, None, None)
            return (
                f"the machine was slowed by {self.by:.0%} at most while it measured"
                if is_known
                else "too little was measured to tell whether the machine was slowed"
            )
        return (
            f"the machine was slowed by {self.by:.0%} for most of the time: its milliseconds are not to be believed; "
            "profile again when nothing else runs"
        )


def slowdown(measurements: Sequence[Measurement], pace: Pace | None = None, *, is_single: bool = True) -> Slowdown:
    """Return how much the machine was slowed at the speed that the estimates of those measurements stand for.

    Args:
        is_single: the thread that takes the time does all the work itself, so that its CPU time tells when it waited.
    """
    measured = [m for m in measurements if m.error is None]
    if not measured:
        return Slowdown()
    pool = Pool(measured)
    visits, disturbance = pool.disturbance()
    low, high = np.quantile(disturbance, (0.05, 0.95))
    return Slowdown(
        by_samples=_by_samples(disturbance),
        by_pace=None if pace is None else _by_pace(pace, visits, disturbance),
        by_waiting=_by_waiting(pool) if is_single else None,
        preempted=float(pool.is_preempted.mean()) if pool.is_busy else None,
        spread=float(high / low - 1),
    )


def _by_samples(disturbance: NDArray[np.float64]) -> float | None:
    # Estimates are what is left once the disturbance is divided out: they stand for where it is 1.
    return float(1 / np.quantile(disturbance, TAIL) - 1) if len(disturbance) >= MIN_SAMPLES else None


def _by_pace(pace: Pace, visits: NDArray[np.int64], disturbance: NDArray[np.float64]) -> float | None:
    if len(pace.wall_ns) < MIN_ROUNDS:
        return None
    wall_ns = np.array(pace.wall_ns, dtype=np.float64)
    # The same as for samples: the pace of where the disturbance is 1, whichever rounds that was in.
    ours_ns = np.median(wall_ns / np.interp(pace.visits, visits, disturbance))
    best_ns = np.quantile(wall_ns, PACE_TAIL)
    if pace.after_wall_ns:
        best_ns = min(best_ns, np.quantile(pace.after_wall_ns, AFTER_TAIL))
    return float(ours_ns / best_ns - 1)


def _by_waiting(pool: Pool) -> float | None:
    share = pool.cpu_ns / pool.wall_ns
    if len(share) < MIN_SAMPLES or np.quantile(share, BUSY_SHARE) < BUSY_SHARE:
        return None  # not even undisturbed samples are the thread's own work: another processor's, or no clock for it
    # A coarse clock may tell no time at all of a short sample.
    return float(np.median(pool.time_ns / np.maximum(pool.cpu_ns, 1.0)) - 1)
