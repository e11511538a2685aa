"""Scores of networks trained alone for a little while."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hwnas.errors import RunError
from hwnas.evaluators.inputs import EvaluatorInputs
from hwnas.progress import Reporter
from hwnas.training import Trainer
from hwnas.training.divergence import DivergedError
from hwnas.training.inheritance import inherit_weights
from hwnas.training.mixing import Batch
from hwnas.training.randomness import seed_torch
from hwnas.training.strategy import Moment, TaskLoss
from hwnas.training.trainer import with_criterion
from search_spaces import Architecture


class ShortTraining:
    """Trains every architecture as the winner will be, for fewer epochs, all from the same seed.

    It begins with the supernet's weights where the winner does; a teacher it has not.
    """

    def __init__(self, inputs: EvaluatorInputs) -> None:
        self._space, self._task, self._splits = inputs.space, inputs.task, inputs.splits
        self._supernet = inputs.supernet if inputs.training.inherit else None
        self._config, self._batch_size, self._seed = inputs.training, inputs.batch_size, inputs.seed
        if self._config.mixed_precision == "auto":
            # A choice by timing may differ from one architecture to the next, which are to be trained alike.
            self._config = replace(self._config, mixed_precision=False)

    def score(self, architecture: Architecture) -> float:
        """Return the metric that the agent ranks networks by, on the images that drive the search.

        Raises:
            RunError: the training diverged.
        """
        architecture = self._space.canonical(architecture)
        with torch.random.fork_rng(devices=[]):
            seed_torch(self._seed, "short-training")
            network = self._space.build(architecture)
        if self._supernet is not None:
            inherit_weights(network, self._supernet, architecture)
        training = self._task.training_inputs(self._config, self._splits.train)

        task_loss = TaskLoss(agent=training.agent)

        def accumulate(batch: Batch, _rng: np.random.Generator, _moment: Moment) -> torch.Tensor:
            loss = task_loss(network(batch[0]), batch[1])
            loss.backward()
            return loss.detach()

        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                module=with_criterion(network, training.criterion),
                config=self._config,
                batches=training.batches,
                accumulate=accumulate,
                checkpoint=Path(folder) / "checkpoint.safetensors",
                name="short training",
                seed=self._seed,
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
        held_out = self._task.batches(self._splits.validation, self._batch_size)
        return self._task.agent.search_score(network, held_out.in_order())
