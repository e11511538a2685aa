"""What training minimises."""

from __future__ import annotations

from typing import Protocol

import torch

from hwnas.criteria.cross_entropy import SmoothedCrossEntropy


class Criterion(Protocol):
    """Network outputs and targets to a loss."""

    def __call__(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """A scalar, averaged over the batch."""
        ...


__all__ = ["Criterion", "SmoothedCrossEntropy"]
