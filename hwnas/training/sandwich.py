"""The sandwich rule."""

from __future__ import annotations

import numpy as np
import torch

from hwnas.search.constraint import HardLimits
from hwnas.training.strategy import Loss, Moment, TrainingStrategy, distillation_of
from search_spaces import SearchSpace
from search_spaces.cost import GraphCosts
from search_spaces.overview import extreme_architecture
from search_spaces.supernet import Supernet

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

    def accumulate(
        self,
        supernet: Supernet,
        batch: tuple[torch.Tensor, torch.Tensor],
        loss: Loss,
        rng: np.random.Generator,
        moment: Moment,
    ) -> torch.Tensor:
        """Gradients of all four paths, summed; gives the loss of the largest."""
        x_NCHW, targets_N = batch
        taught = supernet(x_NCHW, self._largest)
        value = loss(taught, targets_N)
        value.backward()
        teacher = taught.detach()
        for path in (self._smallest, *(self._space.sample(rng) for _ in range(NUM_RANDOM))):
            distillation_of(loss)(supernet(x_NCHW, path), teacher).backward()
        return value.detach()
