"""Training: the loop, its checkpoints, and the strategies that decide which paths a supernet step trains."""

from __future__ import annotations

from collections.abc import Callable

from hwnas.constraint import HardLimits
from hwnas.training.differentiable import BinarisedPaths, GumbelMixture, SoftmaxMixture
from hwnas.training.fairness import StrictFairness
from hwnas.training.progressive import ProgressiveShrinking
from hwnas.training.sandwich import SandwichRule
from hwnas.training.strategy import TrainingStrategy
from hwnas.training.trainer import Trainer
from hwnas.training.uniform import UniformSinglePath
from search_spaces import SearchSpace

STRATEGIES: dict[str, Callable[[SearchSpace, HardLimits], TrainingStrategy]] = {
    "binarised": BinarisedPaths,
    "fairness": StrictFairness,
    "gumbel": GumbelMixture,
    "progressive": ProgressiveShrinking,
    "sandwich": SandwichRule,
    "softmax": SoftmaxMixture,
    "uniform": UniformSinglePath,
}
"""Training strategies by name."""

__all__ = [
    "STRATEGIES",
    "BinarisedPaths",
    "GumbelMixture",
    "SoftmaxMixture",
    "ProgressiveShrinking",
    "SandwichRule",
    "StrictFairness",
    "Trainer",
    "TrainingStrategy",
    "UniformSinglePath",
]
