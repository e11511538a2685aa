"""Budgets that architectures must keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search_spaces import Architecture

CostModel = Callable[[NDArray[np.integer]], NDArray[np.float64]]
"""[num_architectures, num_decisions] choice indices to [num_architectures] costs."""

LATENCY = "latency_ms"
"""The name of the latency on a run's first device among costs."""


def latency_on(device: str) -> str:
    """Return the name of the latency on a further device of a fleet among costs."""
    return f"{LATENCY}@{device}"


def is_latency(name: str) -> bool:
    """Return whether a cost of that name is the latency on a device."""
    return name.partition("@")[0] == LATENCY


def latencies(costs: Mapping[str, float]) -> dict[str, float]:
    """Return the latencies among costs by the names that they have there, the first device's first."""
    return {name: cost for name, cost in costs.items() if is_latency(name)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """A cost that must not exceed a maximum.

    Attributes:
        name: of the cost with its unit, such as `latency_ms`.
        cost: vectorised over architectures.
        maximum: in the same unit; None for a cost that is only reported.
        least: gives the cost of the cheapest network; None where it follows from `cost`, a sum over blocks.
    """

    name: str
    cost: CostModel
    maximum: float | None = None
    least: Callable[[], float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HardLimits:
    """Limits that must all be kept."""

    limits: Sequence[Limit]

    def with_maximum(self, name: str, maximum: float) -> HardLimits:
        """Return the same limits with another maximum for the cost of that name."""
        return HardLimits(limits=tuple(replace(x, maximum=maximum) if x.name == name else x for x in self.limits))

    def is_met(self, architecture: Architecture) -> bool:
        """Return whether every limit is kept."""
        return self.cost(architecture) <= 1.0

    def cost(self, architecture: Architecture) -> float:
        """Return the largest share of its maximum that any cost takes; at most 1 where all limits are kept."""
        return float(self.worst_share(np.array([architecture]))[0])

    def worst_share(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return [num_architectures] the largest share of its maximum that any cost takes."""
        shares = self.shares(architectures)
        worst: NDArray[np.float64] = shares.max(axis=1) if shares.shape[1] else np.zeros(len(architectures))
        return worst

    def shares(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return [num_architectures, num_limits] every limited cost as a share of its maximum."""
        columns = [limit.cost(architectures) / limit.maximum for limit in self.limits if limit.maximum is not None]
        return np.stack(columns, axis=1) if columns else np.zeros((len(architectures), 0))

    def all_costs(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return [num_architectures, num_costs] every cost, limited or not."""
        columns = [limit.cost(architectures) for limit in self.limits]
        return np.stack(columns, axis=1) if columns else np.zeros((len(architectures), 0))

    def costs(self, architecture: Architecture) -> Mapping[str, float]:
        """Every cost of an architecture by name."""
        row = np.array([architecture])
        return {limit.name: float(limit.cost(row)[0]) for limit in self.limits}
