"""Strict fairness."""

from __future__ import annotations

import numpy as np
import torch

from hwnas.constraint import HardLimits
from hwnas.training.strategy import Step, TrainingStrategy
from search_spaces import Architecture, SearchSpace


class StrictFairness(TrainingStrategy):
    """Every choice of every decision once per step (Chu et al. 2021, FairNAS).

    A step runs as many paths as there are choices, one batch for all, and sums their gradients; decisions of fewer
    choices begin again. An epoch takes as many times longer.
    """

    def __init__(self, space: SearchSpace, _constraint: HardLimits) -> None:
        self._space = space

    def accumulate(self, step: Step) -> torch.Tensor:
        """Gradients of all paths, averaged."""
        paths = self._paths(step.rng)
        total = torch.zeros((), device=step.x_NCHW.device)
        for path in paths:
            value = step.loss_of(path) / len(paths)
            value.backward()
            total += value.detach()
        return total

    def _paths(self, rng: np.random.Generator) -> list[Architecture]:
        """Paths that together hold every choice equally often, as far as the numbers of choices allow."""
        sizes = [len(d.choices) for d in self._space.decisions]
        num = max(sizes)
        columns = [np.concatenate([rng.permutation(size) for _ in range(-(-num // size))])[:num] for size in sizes]
        return [tuple(int(c) for c in row) for row in np.stack(columns, axis=1)]
