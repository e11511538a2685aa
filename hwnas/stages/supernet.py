"""Training the supernet."""

from __future__ import annotations

from pathlib import Path

import torch

from hwnas.artifacts import TrainedSupernet
from hwnas.components import find
from hwnas.config import SupernetConfig
from hwnas.constraint import HardLimits
from hwnas.dataflow import Split
from hwnas.progress import Reporter
from hwnas.training import Trainer, TrainingStrategy
from hwnas.training.group import ALONE, Group
from hwnas.training.randomness import seed_torch
from hwnas.training.strategy import TaskLoss, steps_of
from hwnas.training.task import LearningTask
from hwnas.training.trainer import with_criterion
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet


def train_supernet(
    space: SearchSpace,
    constraint: HardLimits,
    task: LearningTask,
    split: Split,
    config: SupernetConfig,
    *,
    checkpoint: Path,
    reporter: Reporter,
    group: Group = ALONE,
) -> TrainedSupernet:
    """Return the supernet of a space, trained on a split; what the checkpoint holds of that is only read.

    Args:
        constraint: that the search will have.
        group: of processes that train it together.
    """
    strategy, supernet = _made(space, constraint, config.strategy, task.seed)
    training = task.training_inputs(config, split)
    epochs = Trainer(
        module=with_criterion(supernet, training.criterion),
        config=config,
        batches=training.batches,
        accumulate=steps_of(strategy, supernet, TaskLoss(agent=training.agent)),
        checkpoint=checkpoint,
        name="supernet",
        seed=task.seed,
        reporter=reporter,
        group=group,
    ).fit()
    return TrainedSupernet(module=supernet, epochs=tuple(epochs))


def untrained_supernet(space: SearchSpace, constraint: HardLimits, strategy: str, *, seed: int) -> TrainedSupernet:
    """Return the supernet as its training would begin, for runs in which nothing needs it trained."""
    return TrainedSupernet(module=_made(space, constraint, strategy, seed)[1])


def _made(space: SearchSpace, constraint: HardLimits, name: str, seed: int) -> tuple[TrainingStrategy, Supernet]:
    strategy: TrainingStrategy = find("training-strategy", name)(space, constraint)
    with torch.random.fork_rng(devices=[]):
        seed_torch(seed, "supernet")
        supernet = space.supernet()
        strategy.prepare(supernet)
    return strategy, supernet
