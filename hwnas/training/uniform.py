"""Uniform single-path training."""

from __future__ import annotations

import torch

from hwnas.constraint import HardLimits
from hwnas.training.strategy import Step, TrainingStrategy
from search_spaces import SearchSpace


class UniformSinglePath(TrainingStrategy):
    """One architecture per step, drawn uniformly (Guo et al. 2020, Single Path One-Shot NAS with Uniform Sampling)."""

    def __init__(self, space: SearchSpace, _constraint: HardLimits) -> None:
        self._space = space

    def accumulate(self, step: Step) -> torch.Tensor:
        """Gradients of the drawn path's weights; all others keep none."""
        value = step.loss_of(self._space.sample(step.rng))
        value.backward()
        return value.detach()
