"""From raw samples to one latency per model: what disturbed all models alike is removed, then medians are taken."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from profilers.measurement import Measurement
from profilers.visits import restart_of

NEIGHBOURS = 10
"""Visits on either side whose median ratio is the disturbance of a visit."""

BUSY_SHARE = 0.95
UNDISTURBED = 0.9
"""A share of CPU time in wall-clock time above the first in the least disturbed tenth of the samples means that the
timing thread itself does the work, so that wall-clock time beyond its CPU time was spent waiting for the core."""

OWN_WORK = 0.8
"""CPU time of interrupted samples below so much of what undisturbed ones take means that other threads went on with the
work, or were waited for in sleep: it tells nothing then. It came to 0.99 to 1.2 with one thread, to 0.2 with two."""

PREEMPTED_RATIO = 1.05
PREEMPTED_NS = 2_000
"""A sample whose wall-clock time is longer than its CPU time by both was interrupted."""


def estimate_ms(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Return the latency of every successfully measured model in milliseconds per forward pass.

    All models were visited in interleaved rounds, so a slow stretch of the machine shows in neighbouring visits of
    different models alike. Each sample's ratio to its model's median is divided by the running median of that ratio
    over the neighbouring visits; the estimate is the median of what is left. Plain medians, minima and means were two
    to eight times worse under a busy neighbour or drift.
    """
    measured = [m for m in measurements if m.error is None]
    corrected = remove_common_mode(measured)
    return {m.key: float(np.median(samples)) / 1e6 for m, samples in zip(measured, corrected, strict=True)}


def first_run_ms(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Return how much longer than the estimate the first run of a visit takes, in milliseconds by key.

    Other models have had the caches by then, so that it has to bring back what it needs. Models whose worker does not
    tell are left out.
    """
    told = {m.key: m for m in measurements if m.first_ns}
    # Within a visit the machine is as fast in the first run as in the last: their ratio is undisturbed.
    ratios = {key: float(np.median(np.divide(m.first_ns, m.wall_ns))) for key, m in told.items()}
    return {
        key: max(0.0, ratio - 1.0) * ms for key, ms in estimate_ms(measurements).items() if (ratio := ratios.get(key))
    }


def remove_common_mode(measurements: Sequence[Measurement]) -> list[NDArray[np.float64]]:
    """Return each measurement's samples in nanoseconds, with what disturbed all models at the time divided out.

    Samples during which the thread lost its core count with their CPU time.
    """
    if not measurements:
        return []
    pool = Pool(measurements)
    return pool.split(pool.time_ns / pool.restart_level() / pool.common_mode())


def split_half_error(measurements: Sequence[Measurement], *, of: Collection[str] | None = None) -> float:
    """Return the mean relative difference between estimates from two halves of the samples.

    Over the models whose keys are in `of`, all of them for None; NaN where none of them has two samples.
    """
    errors = [error for key, error in split_half_errors(measurements).items() if of is None or key in of]
    return float(np.mean(errors)) if errors else float("nan")


def split_half_errors(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Return the relative difference between estimates from two halves, of models with two samples or more.

    The halves are odd and even restarts, so that what changes with opening a model shows; of one restart, odd and even
    samples.
    """
    measured = [m for m in measurements if m.num_samples >= 2]
    errors = {}
    for measurement, samples in zip(measured, remove_common_mode(measured), strict=True):
        is_in_odd = is_odd(measurement)
        odd, even = np.median(samples[is_in_odd]), np.median(samples[~is_in_odd])
        errors[measurement.key] = float(abs(odd - even) / (0.5 * (odd + even)))
    return errors


def is_odd(measurement: Measurement) -> NDArray[np.bool_]:
    """Return for each sample whether it is of an odd restart; of one restart, whether it is an odd sample."""
    _, restart = np.unique(measurement.restarts, return_inverse=True)
    numbers = restart if restart.any() else np.arange(measurement.num_samples)
    odd: NDArray[np.bool_] = numbers % 2 == 1
    return odd


class Pool:
    """The samples of all models in one row, model after model.

    Attributes:
        lengths: how many samples each model has.
        visits, wall_ns, cpu_ns: of each sample, as in the measurements.
        is_busy: the timing thread does the work itself in most samples.
        is_preempted: for each sample, whether the thread lost its core during it.
        time_ns: what each sample counts with.
    """

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self.lengths = [m.num_samples for m in measurements]
        self.visits = np.concatenate([m.visits for m in measurements]).astype(np.int64)
        wall_ns = self.wall_ns = np.concatenate([np.asarray(m.wall_ns, dtype=np.float64) for m in measurements])
        cpu_ns = self.cpu_ns = np.concatenate([np.asarray(m.cpu_ns, dtype=np.float64) for m in measurements])
        self.is_preempted = (wall_ns > PREEMPTED_RATIO * cpu_ns) & (wall_ns > cpu_ns + PREEMPTED_NS)
        self.is_busy = bool(np.quantile(cpu_ns / wall_ns, UNDISTURBED) > BUSY_SHARE) and self._does_all_work()
        self.time_ns = np.where(self.is_preempted & self.is_busy, cpu_ns, wall_ns)

    def split(self, row: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return a row of all samples as one array per model."""
        return np.split(row, np.cumsum(self.lengths)[:-1])

    def typical_ns(self, row: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return for every sample the median of its model."""
        return np.repeat([np.median(samples) for samples in self.split(row)], self.lengths)

    def _does_all_work(self) -> bool:
        """Return whether the timing thread takes as much CPU time when it is interrupted: no other goes on then."""
        kept = np.where(self.is_preempted, np.nan, self.wall_ns)
        typical_ns = [np.nanmedian(row) if np.isfinite(row).any() else np.nan for row in self.split(kept)]
        ratio = (self.cpu_ns / np.repeat(typical_ns, self.lengths))[self.is_preempted]
        return not np.nanmedian(ratio) < OWN_WORK if np.isfinite(ratio).any() else True

    def restart_level(self) -> NDArray[np.float64]:
        """Return how slow the machine was in each sample's restart, by the models that were in every restart."""
        restarts = restart_of(self.visits)
        names = np.unique(restarts)
        level = np.ones_like(self.time_ns)
        if len(names) == 1:
            return level
        models = np.repeat(np.arange(len(self.lengths)), self.lengths)
        is_anchor = np.array([len(np.unique(restarts[models == m])) == len(names) for m in range(len(self.lengths))])
        ratio = self.time_ns / self.typical_ns(self.time_ns)
        for name in names:
            chosen = (restarts == name) & is_anchor[models]
            if chosen.any():
                level[restarts == name] = np.median(ratio[chosen])
        return level

    def common_mode(self) -> NDArray[np.float64]:
        """Return the running median over neighbouring visits of the ratio to what is typical of the model."""
        levelled = self.time_ns / self.restart_level()
        order = np.argsort(self.visits, kind="stable")
        ratio = (levelled / self.typical_ns(levelled))[order]
        window = min(2 * NEIGHBOURS + 1, len(ratio))
        mode = np.empty_like(ratio)
        mode[order] = median_filter(ratio, size=window, mode="nearest")
        return mode

    def disturbance(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the visits in time order, and how much slower than the estimates' speed the machine was then."""
        order = np.argsort(self.visits, kind="stable")
        return self.visits[order], (self.restart_level() * self.common_mode())[order]
