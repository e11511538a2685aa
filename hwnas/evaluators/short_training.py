"""Scores of networks trained alone for a little while."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hwnas.agents import score_of
from hwnas.dataflow import Batches
from hwnas.errors import RunError
from hwnas.progress import Reporter
from hwnas.run import Run
from hwnas.training import Trainer
from hwnas.training.divergence import DivergedError
from hwnas.training.randomness import seed_torch
from hwnas.training.strategy import Moment
from hwnas.training.trainer import with_criterion
from search_spaces import Architecture


class ShortTraining:
    """Trains every architecture as the winner will be, for fewer epochs, all from the same seed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._config = replace(run.config.retrain, epochs=run.config.search.short_epochs)

    def score(self, architecture: Architecture) -> float:
        """The agent's score on the images that drive the search.

        Raises:
            RunError: the training diverged.
        """
        run, (train, validation) = self._run, self._run.search_splits
        with torch.random.fork_rng(devices=[]):
            seed_torch(run.config.seed, "short-training")
            network = run.space.build(run.space.canonical(architecture))
        agent, criterion, batches = run.training(self._config, train)

        def accumulate(
            batch: tuple[torch.Tensor, torch.Tensor], _rng: np.random.Generator, _moment: Moment
        ) -> torch.Tensor:
            loss = agent.loss(network(batch[0]), batch[1])
            loss.backward()
            return loss.detach()

        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                module=with_criterion(network, criterion),
                config=self._config,
                batches=batches,
                accumulate=accumulate,
                checkpoint=Path(folder) / "checkpoint.safetensors",
                name="short training",
                seed=run.config.seed,
                settings="retrain",
                reporter=Reporter(is_quiet=True),
            )
            try:
                trainer.fit()
            except DivergedError as error:
                # Scores by different learning rates would not compare: this one cannot be changed within a search.
                raise RunError(
                    f"{error.what}; search anew with another --out and a lower --set retrain.learning_rate"
                ) from error
        network.eval()
        held_out = Batches.of(run.dataset, validation, run.config.supernet.batch_size)
        return score_of(run.agent, network, held_out.in_order())
