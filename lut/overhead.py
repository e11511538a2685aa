"""What a runtime's profiler adds to the nodes of a graph, learnt from models that ran with it and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALE_STD = 0.05
"""Prior standard deviation of the factor around 1: the profiler stamps times, and slows nothing meanwhile."""

NODE_MS, NODE_STD_MS = 0.002, 0.005
"""Prior mean and standard deviation of what it adds to each node: 2 to 4 microseconds on a server core."""

NOISE_STD = 0.03
"""Relative error of a whole's measurement beside the sum of its nodes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overhead:
    """A node takes `scale` times what the profiler says, less `node_ms`, and no less than nothing."""

    scale: float = 1.0
    node_ms: float = NODE_MS

    def corrected_ms(self, profiled_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what nodes take without the profiler, of what it says that they take."""
        found: NDArray[np.float64] = np.maximum(0.0, self.scale * profiled_ms - self.node_ms)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """Holds what a model takes without the profiler, and what this says that its nodes take, [num_nodes]."""

    plain_ms: float
    profiled_ms: NDArray[np.float64]

    def error(self, overhead: Overhead) -> float:
        """Return by how much the corrected nodes sum to more than the whole, relative to it."""
        return float(overhead.corrected_ms(self.profiled_ms).sum() / self.plain_ms - 1)


def fit_overhead(wholes: Sequence[Whole]) -> Overhead:
    """Return the overhead that explains the models best, as far as they tell it from what is usual.

    A Bayesian linear regression of relative times with two coefficients; that of no model at all is the prior's mean.
    """
    measured = [np.array([w.profiled_ms.sum(), -len(w.profiled_ms)]) / w.plain_ms / NOISE_STD for w in wholes]
    prior = np.diag([1 / SCALE_STD, 1 / NODE_STD_MS])
    wanted = np.concatenate([np.full(len(measured), 1 / NOISE_STD), prior @ [1.0, NODE_MS]])
    (scale, node_ms), *_ = np.linalg.lstsq(np.stack([*measured, *prior]), wanted, rcond=None)
    return Overhead(scale=float(scale), node_ms=max(0.0, float(node_ms)))
