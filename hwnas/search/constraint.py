"""Budgets that architectures must keep."""

from __future__ import annotations

from dataclasses import dataclass

from lut import LatencyModel
from search_spaces import Architecture


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyConstraint:
    """Predicted latency of at most `max_ms` milliseconds per forward pass."""

    model: LatencyModel
    max_ms: float

    def is_met(self, architecture: Architecture) -> bool:
        """Whether the predicted latency is within the budget."""
        return self.cost(architecture) <= self.max_ms

    def cost(self, architecture: Architecture) -> float:
        """Predicted milliseconds."""
        return self.model.predict_one_ms(architecture)
