"""What training minimises."""

from __future__ import annotations

from typing import Protocol

import torch

from hwnas.criteria.cross_entropy import SmoothedCrossEntropy
from hwnas.criteria.distillation import Distillation
from hwnas.criteria.focal import Focal
from hwnas.criteria.metric import AdditiveAngularMargin, BatchHardTriplet


class Criterion(Protocol):
    """Network outputs and targets to a loss."""

    def __call__(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """A scalar, averaged over the batch."""
        ...


__all__ = ["AdditiveAngularMargin", "BatchHardTriplet", "Criterion", "Distillation", "Focal", "SmoothedCrossEntropy"]
