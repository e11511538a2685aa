"""Which paths of a supernet a step trains, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from search_spaces.supernet import Supernet

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Outputs and targets_N to a scalar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """How far a training is."""

    step: int
    num_steps: int


class TrainingStrategy(Protocol):
    """Fills the gradients for one optimiser step from one batch.

    Made as `Strategy(space, constraint)`; most have no use for the constraint that the search will have.
    """

    def prepare(self, supernet: Supernet) -> None:
        """Give the new supernet what is to be learnt besides its weights, before training or reading a checkpoint.

        Nothing, unless a strategy says otherwise.
        """

    def accumulate(
        self,
        supernet: Supernet,
        batch: tuple[torch.Tensor, torch.Tensor],
        loss: Loss,
        rng: np.random.Generator,
        moment: Moment,
    ) -> torch.Tensor:
        """Run forward and backward; all randomness comes from `rng`, and nothing depends on earlier calls.

        Args:
            batch: x_NCHW and targets_N.

        Returns:
            The detached loss, for the log.
        """
        ...
