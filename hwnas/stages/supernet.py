"""Training the supernet."""

from __future__ import annotations

import torch

from hwnas.agents import ClassificationAgent
from hwnas.criteria import SmoothedCrossEntropy
from hwnas.dataflow import Batches
from hwnas.run import Run
from hwnas.training import STRATEGIES, Trainer
from hwnas.training.randomness import seed_torch
from search_spaces.supernet import Supernet


def train_supernet(run: Run) -> Supernet:
    """The run's supernet, trained; only read where that was done before."""
    config = run.config.supernet
    strategy = STRATEGIES[config.strategy](run.space)
    agent = ClassificationAgent(criterion=SmoothedCrossEntropy(label_smoothing=config.label_smoothing))
    with torch.random.fork_rng(devices=[]):
        seed_torch(run.config.seed, "supernet")
        supernet = run.space.supernet()
    Trainer(
        module=supernet,
        config=config,
        batches=Batches.of(run.dataset, run.search_splits[0], config.batch_size),
        accumulate=lambda batch, rng, moment: strategy.accumulate(supernet, batch, agent.loss, rng, moment),
        checkpoint=run.folder / "supernet" / "checkpoint.safetensors",
        name="supernet",
        seed=run.config.seed,
        reporter=run.reporter,
    ).fit()
    return supernet
