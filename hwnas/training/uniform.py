"""Uniform single-path training."""

from __future__ import annotations

import numpy as np
import torch

from hwnas.search.constraint import HardLimits
from hwnas.training.strategy import Loss, Moment, TrainingStrategy
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet


class UniformSinglePath(TrainingStrategy):
    """One architecture per step, drawn uniformly (Guo et al. 2020, Single Path One-Shot NAS with Uniform Sampling)."""

    def __init__(self, space: SearchSpace, _constraint: HardLimits) -> None:
        self._space = space

    def accumulate(
        self,
        supernet: Supernet,
        batch: tuple[torch.Tensor, torch.Tensor],
        loss: Loss,
        rng: np.random.Generator,
        moment: Moment,
    ) -> torch.Tensor:
        """Gradients of the drawn path's weights; all others keep none."""
        x_NCHW, targets_N = batch
        value = loss(supernet(x_NCHW, self._space.sample(rng)), targets_N)
        value.backward()
        return value.detach()
