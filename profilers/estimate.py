"""From raw samples to one latency per model: the common mode of all models is removed, then medians are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from profilers.measurement import Measurement

NEIGHBOURS = 10
"""Visits on either side whose median ratio is the disturbance of a visit."""


def estimate_ms(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Latency of every successfully measured model in milliseconds per forward pass.

    All models were visited in interleaved rounds, so a slow stretch of the machine shows in neighbouring visits of
    different models alike. Each sample's ratio to its model's median is divided by the running median of that ratio
    over the neighbouring visits; the estimate is the median of what is left. Plain medians, minima and means were two
    to eight times worse under a busy neighbour or drift.
    """
    measured = [m for m in measurements if m.error is None]
    corrected = remove_common_mode(measured)
    return {m.key: float(np.median(samples)) / 1e6 for m, samples in zip(measured, corrected, strict=True)}


def remove_common_mode(measurements: Sequence[Measurement]) -> list[NDArray[np.float64]]:
    """Each measurement's wall-clock samples in nanoseconds, with what disturbed all models at the time divided out."""
    if not measurements:
        return []
    lengths = [m.num_samples for m in measurements]
    wall_ns = np.concatenate([np.asarray(m.wall_ns, dtype=np.float64) for m in measurements])
    typical_ns = np.repeat([np.median(m.wall_ns) for m in measurements], lengths)
    order = np.argsort(np.concatenate([m.visits for m in measurements]), kind="stable")
    ratio = (wall_ns / typical_ns)[order]
    window = min(2 * NEIGHBOURS + 1, len(ratio))
    disturbance = np.empty_like(ratio)
    disturbance[order] = median_filter(ratio, size=window, mode="nearest")
    return np.split(wall_ns / disturbance, np.cumsum(lengths)[:-1])


def split_half_error(measurements: Sequence[Measurement]) -> float:
    """Mean relative difference between estimates from odd and from even samples: the repeatability of the estimates.

    NaN where no model has two samples.
    """
    measured = [m for m in measurements if m.num_samples >= 2]
    halves = [(np.median(samples[0::2]), np.median(samples[1::2])) for samples in remove_common_mode(measured)]
    if not halves:
        return float("nan")
    return float(np.mean([abs(a - b) / (0.5 * (a + b)) for a, b in halves]))


def latencies(keys: Sequence[str], estimates_ms: Mapping[str, float]) -> NDArray[np.float64]:
    """[num_keys] milliseconds, NaN for a model without an estimate."""
    return np.array([estimates_ms.get(key, np.nan) for key in keys])
