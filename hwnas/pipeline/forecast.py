"""An estimate of how long a run will take, from the plan of its table and a few steps of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from hwnas.artifacts.found import NUM_TRAINED_REFERENCES
from hwnas.components import find
from hwnas.config import SHORT_TRAINING, TrainingConfig
from hwnas.constraint import HardLimits
from hwnas.dataflow import Split
from hwnas.dataflow.batches import TrainingBatches
from hwnas.errors import RequestError, RunError
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.stages.halving import trained_epochs
from hwnas.stages.table import NUM_NETWORKS, table_rounds
from hwnas.training import Trainer
from hwnas.training.mixing import Batch
from hwnas.training.randomness import numpy_rng, seed_torch
from hwnas.training.strategy import TaskLoss, steps_of
from hwnas.training.trainer import Accumulate, with_criterion
from lut import plan_table

TIMED_STEPS = 8
MOST_SHARE = 0.02
"""Steps are timed where they are at most this share of the training; shorter runs are over soon enough."""

FORWARD_SPEED = 3.0
"""Images that are evaluated in the time in which one is trained on: a backward pass takes two forward ones."""


def foretell(run: Run, last: str, *, num_processes: int = 1) -> None:
    """Say how long a run will take up to that stage, where it is long enough for steps to be timed.

    Nothing that the run draws or learns depends on it: what is timed is made for it and thrown away.
    """
    config = run.config
    timed = config.supernet if _trains_supernet(run) else config.retrain
    num_steps = timed.epochs * (len(run.splits.train) // timed.batch_size)
    has_own_loader = run.dataset.loader is not None  # whose images and epochs are not those that are counted here
    if run.reporter.is_quiet or has_own_loader or num_steps * MOST_SHARE < TIMED_STEPS:
        return
    try:
        with torch.random.fork_rng(devices=[]):
            seed_torch(config.seed, "forecast")
            seconds = _seconds(run, last, num_processes)
    except (RequestError, RunError):
        return  # where it matters, the stage itself will say so
    run.reporter.line(describe(seconds))


def _trains_supernet(run: Run) -> bool:
    """Return whether the run trains a supernet that it needs, rather than take another's or given weights."""
    return run.needs_supernet and run.origin is None and run.config.supernet.epochs > 0


def describe(seconds: Mapping[str, float]) -> str:
    """Return the sum of some times, and each with what it is for, all in one unit."""
    total = sum(seconds.values())
    unit, size = next(
        (u, s) for u, s, most in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, float("inf"))) if total < most
    )
    parts = ", ".join(f"{_number(value / size)} to {purpose}" for purpose, value in seconds.items())
    return f"about {_number(total / size)} {unit} in all: {parts}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def _seconds(run: Run, last: str, num_processes: int) -> dict[str, float]:
    """Return the seconds that each stage is expected to take, by what it does; in the search only evaluations count."""
    config, found = run.config, {}
    if run.given_table is None and not run.kept.table.exists():
        found["profile on a server core"] = _profiling_s(run)
    train = run.splits.train
    if _trains_supernet(run):
        images = config.supernet.epochs * len(train)
        found[f"train {config.supernet.epochs} epochs"] = images / _supernet_speed(run, train) / num_processes
    if last == "train":
        return found
    speed = _network_speed(run, run.splits.retrain)
    num_winners = 1 + len(config.budgets)
    if config.search.evaluator == "supernet":
        images = config.search.recalibration_batches * config.supernet.batch_size + len(run.splits.validation)
        found[f"evaluate {config.search.evaluations} networks"] = (
            num_winners * config.search.evaluations * images / speed / FORWARD_SPEED
        )
    short_epochs, by_training = config.search.short_epochs, config.search.evaluator == SHORT_TRAINING
    if by_training:
        epochs = num_winners * config.search.evaluations * short_epochs
        found[f"train {config.search.evaluations} networks for {epochs} epochs"] = epochs * len(train) / speed
    if num := config.search.trained_finalists:
        epochs = trained_epochs(num, epochs=short_epochs, most_epochs=config.retrain.epochs)
        epochs -= num * short_epochs if by_training else 0
        found[f"train finalists for {num_winners * epochs} epochs"] = num_winners * epochs * len(train) / speed
    num_networks = num_winners + (NUM_TRAINED_REFERENCES if config.retrain.references else 0)
    images = num_networks * config.retrain.epochs * len(run.splits.retrain)
    found[f"retrain {num_networks} networks"] = images / speed
    return found


def _profiling_s(run: Run) -> float:
    return plan_table(
        run.space,
        rounds=table_rounds(run.config.percentile),
        num_networks=NUM_NETWORKS,
        batch=run.device.batch,
        precision=run.config.precision,
        seed=run.config.seed,
    ).estimated_s


def _supernet_speed(run: Run, split: Split) -> float:
    """Return the images per second at which the strategy trains a supernet in this process."""
    config = run.config.supernet
    strategy = find("training-strategy", config.strategy)(run.space, HardLimits(limits=()))
    inputs = run.learning.training_inputs(config, _few(split, config))
    supernet = run.space.supernet()
    strategy.prepare(supernet)
    accumulate = steps_of(strategy, supernet, TaskLoss(agent=inputs.agent))
    return _images_per_s(with_criterion(supernet, inputs.criterion), config, inputs.batches, accumulate)


def _network_speed(run: Run, split: Split) -> float:
    """Return the images per second at which a random network of the space is trained."""
    config = run.config.retrain
    inputs = run.learning.training_inputs(config, _few(split, config))
    module = run.space.build(run.space.sample(numpy_rng(run.config.seed, "forecast")))
    task_loss = TaskLoss(agent=inputs.agent)

    def accumulate(batch: Batch, *_: object) -> torch.Tensor:
        loss = task_loss(module(batch[0]), batch[1])
        loss.backward()
        return loss.detach()

    return _images_per_s(with_criterion(module, inputs.criterion), config, inputs.batches, accumulate)


def _few(split: Split, config: TrainingConfig) -> Split:
    return split.limited(TIMED_STEPS * config.batch_size, numpy_rng(0, "forecast"))


def _images_per_s(module: nn.Module, config: TrainingConfig, batches: TrainingBatches, accumulate: Accumulate) -> float:
    with TemporaryDirectory() as scratch:
        trainer = Trainer(
            module=module,
            config=replace(config, epochs=1),
            batches=batches,
            accumulate=accumulate,
            checkpoint=Path(scratch) / "timed.safetensors",
            name="forecast",
            seed=0,
            reporter=Reporter(is_quiet=True),
        )
        return trainer.fit()[-1].images_per_s
