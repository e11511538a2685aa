"""The sandwich rule."""

from __future__ import annotations

import torch
from torch import nn

from hwnas.constraint import HardLimits
from hwnas.training.strategy import Step, TrainingStrategy, distillation_of
from search_spaces import SearchSpace
from search_spaces.cost import GraphCosts
from search_spaces.overview import extreme_architecture
from search_spaces.supernet import Supernet

NUM_RANDOM = 2


class SandwichRule(TrainingStrategy):
    """The largest, the smallest and two random architectures per step (Yu et al. 2020, BigNAS).

    The largest learns from the targets, the others from what the largest says (in-place distillation). Slices of a
    network that somebody brought all learn from what that one says, the whole one from the targets too.
    """

    def __init__(self, space: SearchSpace, _constraint: HardLimits) -> None:
        self._space = space
        costs = GraphCosts(space)
        self._largest = extreme_architecture(space, costs.macs, largest=True)
        self._smallest = extreme_architecture(space, costs.macs, largest=False)

        self._teacher: nn.Module | None = None

    def prepare(self, supernet: Supernet) -> None:
        """Keep the network that somebody brought, to teach by it as it was."""
        if self._space.original is not None:
            self._teacher = supernet.subnet(self._space.original).eval().requires_grad_(False)

    def accumulate(self, step: Step) -> torch.Tensor:
        """Gradients of all four paths, summed; gives the loss of the largest."""
        distillation = distillation_of(step.loss)
        taught, value = step.learnt_by(self._largest)
        if self._teacher is None:
            value.backward()
            teacher = taught.detach()
        else:
            with torch.no_grad():
                teacher = self._teacher.to(step.x_NCHW.device)(step.x_NCHW)
            (value + distillation(taught, teacher)).backward()
        for path in (self._smallest, *(self._space.sample(step.rng) for _ in range(NUM_RANDOM))):
            distillation(step.supernet(step.x_NCHW, path), teacher).backward()
        return value.detach()
