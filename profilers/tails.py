"""Tail percentiles of single runs: of raw samples, with all that disturbed them.

A median is to tell what a model takes, so what slowed all models alike is removed from it (`profilers/estimate.py`).
A tail is to tell what its users wait for: interrupts, lost cores and slow stretches of the device belong to it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from profilers.estimate import is_odd
from profilers.measurement import Measurement

MEDIAN = 50
TAILS = (95, 99)
PERCENTILES = (MEDIAN, *TAILS)

LEAST_RUNS: Mapping[int, int] = {MEDIAN: 1, 95: 100, 99: 300}
"""The runs of one model that a percentile of it takes: five of them are longer than p95 then, three than p99."""


def percentile_name(percentile: int) -> str:
    """Return what a percentile is called, such as p95."""
    return f"p{percentile}"


def tail_ms(measurement: Measurement, percentile: int) -> float:
    """Return a percentile of the wall-clock samples in milliseconds, as far as its number of samples tells.

    The estimate is above the percentile as often as below it, whatever the distribution (Hyndman and Fan 1996,
    definition 8); of too few samples it is the longest.
    """
    return float(np.percentile(measurement.wall_ns, percentile, method="median_unbiased")) / 1e6


def known_tails_ms(measurement: Measurement) -> dict[int, float]:
    """Return the percentiles of a model that its samples are enough for, in milliseconds."""
    return {p: tail_ms(measurement, p) for p in TAILS if measurement.num_samples >= LEAST_RUNS[p]}


def split_half_tail_error(measurement: Measurement, percentile: int) -> float:
    """Return the relative difference between a percentile of odd and of even restarts.

    Raises:
        ValueError: there are fewer than two samples.
    """
    if measurement.num_samples < 2:
        raise ValueError(f"{measurement.key}: expected two samples to be halved, found {measurement.num_samples}")
    wall_ns, odd = np.array(measurement.wall_ns), is_odd(measurement)
    one, other = (np.percentile(half, percentile, method="median_unbiased") for half in (wall_ns[odd], wall_ns[~odd]))
    return float(abs(one - other) / (0.5 * (one + other)))
