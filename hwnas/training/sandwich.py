"""The sandwich rule."""

from __future__ import annotations

import torch

from hwnas.constraint import HardLimits
from hwnas.training.strategy import Step, TrainingStrategy, distillation_of
from search_spaces import SearchSpace
from search_spaces.cost import GraphCosts
from search_spaces.overview import extreme_architecture

NUM_RANDOM = 2


class SandwichRule(TrainingStrategy):
    """The largest, the smallest and two random architectures per step (Yu et al. 2020, BigNAS).

    The largest learns from the targets, the others from what the largest says (in-place distillation).
    """

    def __init__(self, space: SearchSpace, _constraint: HardLimits) -> None:
        self._space = space
        costs = GraphCosts(space)
        self._largest = extreme_architecture(space, costs.macs, largest=True)
        self._smallest = extreme_architecture(space, costs.macs, largest=False)

    def accumulate(self, step: Step) -> torch.Tensor:
        """Gradients of all four paths, summed; gives the loss of the largest."""
        taught = step.supernet(step.x_NCHW, self._largest)
        value = step.loss(taught, step.targets_N)
        value.backward()
        teacher, distillation = taught.detach(), distillation_of(step.loss)
        for path in (self._smallest, *(self._space.sample(step.rng) for _ in range(NUM_RANDOM))):
            distillation(step.supernet(step.x_NCHW, path), teacher).backward()
        return value.detach()
