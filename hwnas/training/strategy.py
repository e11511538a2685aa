"""Which paths of a supernet a step trains, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from search_spaces.supernet import Supernet

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Outputs and targets_N to a scalar."""


class TrainingStrategy(Protocol):
    """Fills the gradients for one optimiser step from one batch."""

    def accumulate(
        self,
        supernet: Supernet,
        batch: tuple[torch.Tensor, torch.Tensor],
        loss: Loss,
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """Run forward and backward; all randomness comes from `rng`.

        Args:
            batch: x_NCHW and targets_N.

        Returns:
            The detached loss, for the log.
        """
        ...
