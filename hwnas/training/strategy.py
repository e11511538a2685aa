"""Strategies that decide which paths of a supernet a step trains, and how."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from hwnas.agents import TrainingAgent
from hwnas.agents.agent import Forward
from hwnas.criteria import Distillation, TeacherLoss
from hwnas.training.mixing import Batch, Targets
from search_spaces import Architecture
from search_spaces.supernet import Supernet

Loss = Callable[[torch.Tensor, Targets], torch.Tensor]
"""Outputs and targets_N, or those of mixed images, to a scalar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskLoss:
    """A task's loss, and how its networks learn from each other."""

    agent: TrainingAgent

    def __call__(self, outputs: torch.Tensor, targets_N: Targets) -> torch.Tensor:
        """The agent's loss; of mixed images, the mean of those of both images."""
        if isinstance(targets_N, torch.Tensor):
            return self.agent.loss(outputs, targets_N)
        one, other = (self.agent.loss(outputs, targets) for targets in (targets_N.targets_N, targets_N.others_N))
        return targets_N.share * one + (1.0 - targets_N.share) * other

    def of(self, network: Forward, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a network's outputs for a batch and their loss, as the agent makes a step."""
        x_NCHW, targets_N = batch
        if isinstance(targets_N, torch.Tensor):
            return self.agent.step(network, x_NCHW, targets_N)
        outputs = network(x_NCHW)
        return outputs, self(outputs, targets_N)


def distillation_of(loss: Loss, *, temperature: float = 1.0) -> TeacherLoss:
    """Return the loss of outputs against a teacher's: that of the loss's task, else of logits at that temperature."""
    own = loss.agent.distillation if isinstance(loss, TaskLoss) else None
    return Distillation(temperature=temperature) if own is None else own


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """The progress of a training: the step it is at, and how many it has."""

    step: int
    num_steps: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Step:
    """One batch, and what a strategy may learn from it by.

    Attributes:
        targets_N: for the loss alone: those of mixed images are no tensor.
        loss: the task's, of outputs and targets.
        rng: all randomness of the step.
        moment: where in the training it is.
    """

    supernet: Supernet
    x_NCHW: torch.Tensor
    targets_N: Targets
    loss: Loss
    rng: np.random.Generator
    moment: Moment

    def loss_of(self, architecture: Architecture) -> torch.Tensor:
        """Return the loss of one subnet's outputs."""
        return self.learnt_by(architecture)[1]

    def learnt_by(self, architecture: Architecture) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one subnet's outputs, and their loss."""

        def network(x_NCHW: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.supernet(x_NCHW, architecture)
            return outputs

        if isinstance(self.loss, TaskLoss):
            return self.loss.of(network, (self.x_NCHW, self.targets_N))
        outputs = network(self.x_NCHW)
        return outputs, self.loss(outputs, self.targets_N)


class TrainingStrategy(Protocol):
    """Fills the gradients for one optimiser step from one batch.

    Made as `Strategy(space, constraint)`; most have no use for the constraint that the search will have. Strategies
    inherit from it, so that they have the defaults of what they say nothing of.
    """

    def prepare(self, supernet: Supernet) -> None:
        """Give the new supernet what is to be learnt besides its weights, before training or reading a checkpoint.

        Nothing, unless a strategy says otherwise.
        """

    @abstractmethod
    def accumulate(self, step: Step) -> torch.Tensor:
        """Run forward and backward; all randomness comes from the step's, and nothing depends on earlier calls.

        Returns:
            The detached loss, for the log.
        """


def steps_of(
    strategy: TrainingStrategy, supernet: Supernet, loss: Loss
) -> Callable[[Batch, np.random.Generator, Moment], torch.Tensor]:
    """Return the function by which a trainer trains a supernet by the strategy on a batch of x_NCHW and targets_N."""

    def accumulate(batch: Batch, rng: np.random.Generator, moment: Moment) -> torch.Tensor:
        x_NCHW, targets_N = batch
        step = Step(supernet=supernet, x_NCHW=x_NCHW, targets_N=targets_N, loss=loss, rng=rng, moment=moment)
        return strategy.accumulate(step)

    return accumulate
