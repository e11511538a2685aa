"""Training the supernet."""

from __future__ import annotations

import torch

from hwnas.parts import find
from hwnas.run import Run
from hwnas.search import HardLimits
from hwnas.training import Trainer
from hwnas.training.group import ALONE, Group
from hwnas.training.randomness import seed_torch
from hwnas.training.strategy import TaskLoss, steps_of
from hwnas.training.trainer import with_criterion
from search_spaces.supernet import Supernet


def train_supernet(run: Run, constraint: HardLimits, group: Group = ALONE) -> Supernet:
    """The run's supernet, trained; only read where that was done before, and left untrained where nothing needs it."""
    config = run.config.supernet
    strategy = find("training-strategy", config.strategy)(run.space, constraint)
    agent, criterion, batches = run.training(config, run.search_splits[0])
    with torch.random.fork_rng(devices=[]):
        seed_torch(run.config.seed, "supernet")
        supernet = run.space.supernet()
        strategy.prepare(supernet)
    if not run.needs_supernet:
        return supernet
    Trainer(
        module=with_criterion(supernet, criterion),
        config=config,
        batches=batches,
        accumulate=steps_of(strategy, supernet, TaskLoss(agent=agent)),
        checkpoint=run.folder / "supernet" / "checkpoint.safetensors",
        name="supernet",
        seed=run.config.seed,
        reporter=run.reporter,
        group=group,
    ).fit()
    return supernet
