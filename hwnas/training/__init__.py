"""Training: the loop, its checkpoints, and the strategies that decide which paths a supernet step trains."""

from __future__ import annotations

from collections.abc import Callable

from hwnas.training.strategy import TrainingStrategy
from hwnas.training.trainer import Trainer
from hwnas.training.uniform import UniformSinglePath
from search_spaces import SearchSpace

STRATEGIES: dict[str, Callable[[SearchSpace], TrainingStrategy]] = {"uniform": UniformSinglePath}
"""Training strategies by name."""

__all__ = ["STRATEGIES", "Trainer", "TrainingStrategy", "UniformSinglePath"]
