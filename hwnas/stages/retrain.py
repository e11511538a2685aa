"""Training the found networks on their own, each tested once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from hwnas.agents import score_of
from hwnas.artifacts import ORIGINAL, FoundNetwork, RetrainedNetwork, TrainedSupernet
from hwnas.config import RetrainConfig
from hwnas.dataflow import Split
from hwnas.dataflow.splits import Splits
from hwnas.evaluators.supernet import calibration_batches, recalibrate
from hwnas.run_folder import RetrainFiles
from hwnas.stages.setup import Setup
from hwnas.training import Trainer
from hwnas.training.compiling import compiled
from hwnas.training.inheritance import inherit_weights
from hwnas.training.mixing import Batch
from hwnas.training.randomness import seed_torch, torch_rng
from hwnas.training.strategy import TaskLoss, distillation_of
from hwnas.training.task import LearningTask, TrainingInputs
from hwnas.training.trainer import Accumulate, best_epoch, training_device, with_criterion
from onnx_models.image_size import ImageSize
from search_spaces import Architecture
from search_spaces.cost import GraphCosts
from search_spaces.overview import extreme_architecture

NUM_CALIBRATING = 32
"""Batches that give a network BatchNorm statistics where it is not trained after its weights were cut out."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RetrainInputs:
    """The images, the settings and the supernet that found networks are trained with.

    Attributes:
        supernet: whose weights they begin with, where the settings say so.
        teacher: taught by besides the targets, where the settings say so; in evaluation mode.
    """

    task: LearningTask
    splits: Splits
    config: RetrainConfig
    supernet: TrainedSupernet
    teacher: nn.Module | None = None


def retrain_networks(
    setup: Setup, found: Mapping[str, FoundNetwork], inputs: RetrainInputs, files: RetrainFiles
) -> dict[str, RetrainedNetwork]:
    """Train every found network alike; networks that are the same are trained once.

    They learn from all training images, except those that choose the epoch where the configuration sets some aside.
    """
    done: dict[Architecture, RetrainedNetwork] = {}
    retrained = {}
    for name, network in found.items():
        if name == ORIGINAL:
            retrained[name] = _as_brought(setup, name, network.architecture, inputs, files)
            continue
        if network.architecture not in done:
            files.adopt(name, [n for n, f in found.items() if f.architecture == network.architecture])
            done[network.architecture] = _retrain(setup, name, network.architecture, inputs, files)
        retrained[name] = done[network.architecture]
    return retrained


def _as_brought(
    setup: Setup, name: str, architecture: Architecture, inputs: RetrainInputs, files: RetrainFiles
) -> RetrainedNetwork:
    """Return the network that somebody brought, as it was, with its score on the test images."""
    module = setup.space.supernet().subnet(architecture).eval()
    size = setup.space.input_size(architecture)
    metrics = files.kept_metrics(name, lambda: _test_metrics(module, size, inputs))
    return RetrainedNetwork(module=module, input_size=size, epoch=None, test_metrics=metrics)


def _test_metrics(module: nn.Module, size: ImageSize, inputs: RetrainInputs) -> Mapping[str, float]:
    """Return a network's scores on the test images of a size."""
    task = inputs.task.at(size)
    test = task.batches(task.dataset.test, inputs.config.batch_size)
    return task.test_agent.metrics(module, test.in_order())


def _retrain(
    setup: Setup, name: str, architecture: Architecture, inputs: RetrainInputs, files: RetrainFiles
) -> RetrainedNetwork:
    task, config = inputs.task, inputs.config
    with torch.random.fork_rng(devices=[]):
        seed_torch(setup.seed, "retrain")
        module = setup.space.build(architecture)
    if config.inherit:
        inherit_weights(module, inputs.supernet.module, architecture)
        if not config.epochs and not (architecture == setup.space.original and not inputs.supernet.epochs):
            _recalibrate(setup, module, inputs)
    training = task.training_inputs(config, inputs.splits.retrain)
    records = Trainer(
        module=with_criterion(module, training.criterion),
        config=config,
        batches=training.batches,
        accumulate=_steps(compiled(module, config), training, inputs.teacher, config.distillation),
        checkpoint=files.checkpoint(name),
        name=f"retrain {name}",
        seed=setup.seed,
        settings="retrain",
        reporter=setup.reporter,
        scorer=_scorer(module, task, inputs.splits.retrain_validation, config),
    ).fit()
    epoch = best_epoch(records)
    module.eval()
    size = setup.space.input_size(architecture)
    metrics = files.kept_metrics(name, lambda: _test_metrics(module, size, inputs))
    return RetrainedNetwork(module=module, input_size=size, epoch=epoch, test_metrics=metrics)


def _recalibrate(setup: Setup, module: nn.Module, inputs: RetrainInputs) -> None:
    """Give a slice that is not trained BatchNorm statistics of its own."""
    batches = inputs.task.batches(inputs.splits.retrain, inputs.config.batch_size)
    recalibrate(module, calibration_batches(batches, NUM_CALIBRATING, torch_rng(setup.seed, "recalibration")))


def _steps(
    module: Callable[[torch.Tensor], torch.Tensor], training: TrainingInputs, teacher: nn.Module | None, weight: float
) -> Accumulate:
    """Return what a training step does: the task's loss, and the distance from a teacher where there is one."""
    task_loss = TaskLoss(agent=training.agent)
    distill = distillation_of(task_loss, temperature=2.0)

    def accumulate(batch: Batch, *_: object) -> torch.Tensor:
        outputs, loss = task_loss.of(module, batch)
        if teacher is not None:
            with torch.no_grad():
                taught = teacher.to(batch[0].device)(batch[0])
            loss = loss + weight * distill(outputs, taught)
        loss.backward()
        return loss.detach()

    return accumulate


def _scorer(
    module: nn.Module, task: LearningTask, validation: Split | None, config: RetrainConfig
) -> Callable[[], float] | None:
    """Return what scores the network after each epoch; None where no images are set aside for that."""
    if validation is None:
        return None

    def score() -> float:
        device = training_device(config)
        held_out = task.batches(validation, config.batch_size).in_order()
        if device.type == "cpu":
            return score_of(task.agent, module, held_out)
        return score_of(task.agent, lambda x_NCHW: module(x_NCHW.to(device)).cpu(), held_out)

    return score


def teacher_of(
    setup: Setup, supernet: TrainedSupernet, task: LearningTask, train: Split, *, batch_size: int, num_batches: int
) -> nn.Module:
    """Return what networks learn from besides the targets, in evaluation mode.

    It is the network that somebody brought, as it was, or else a copy of the supernet's largest path with BatchNorm
    statistics of its own.

    Args:
        train: the images that the statistics are of, so many batches of them.
    """
    if (original := setup.space.original) is not None:
        return setup.space.supernet().subnet(original).eval()
    largest = extreme_architecture(setup.space, GraphCosts(setup.space).macs, largest=True)
    teacher = supernet.module.subnet(largest)
    batches = task.batches(train, batch_size)
    recalibrate(teacher, calibration_batches(batches, num_batches, torch_rng(setup.seed, "recalibration")))
    return teacher
