"""Which paths of a supernet a step trains, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from hwnas.agents import TrainingAgent
from hwnas.criteria import Distillation
from search_spaces.supernet import Supernet

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Outputs and targets_N to a scalar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskLoss:
    """A task's loss, and how its networks learn from each other."""

    agent: TrainingAgent

    def __call__(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """The agent's loss."""
        return self.agent.loss(outputs, targets_N)


def distillation_of(loss: Loss) -> Loss:
    """How far outputs are from a teacher's: as the loss's task says where it does, else as logits are."""
    own: Loss | None = getattr(loss.agent, "distillation", None) if isinstance(loss, TaskLoss) else None
    return Distillation() if own is None else own


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
