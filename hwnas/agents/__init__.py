"""Training agents: what a task's loss and its measure of success are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch

from hwnas.agents.classification import ClassificationAgent

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Maps x_NCHW to a network's outputs."""


class TrainingAgent(Protocol):
    """Owns the criterion and the metric of a task."""

    def loss(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """What one training step minimises, a scalar."""
        ...

    def score(self, forward: Forward, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
        """How good a network is on those batches, higher is better."""
        ...


__all__ = ["ClassificationAgent", "Forward", "TrainingAgent"]
