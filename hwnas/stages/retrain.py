"""Training the found networks on their own, each tested once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from hwnas.agents import score_of
from hwnas.dataflow import Batches
from hwnas.records import as_record
from hwnas.run import Run
from hwnas.stages.search import REFERENCES, FoundNetwork
from hwnas.supernet import inherit_weights
from hwnas.supernet.evaluation import calibration_batches, recalibrate
from hwnas.training import Trainer
from hwnas.training.randomness import seed_torch, torch_rng
from hwnas.training.strategy import TaskLoss, distillation_of
from hwnas.training.trainer import EpochRecord, best_epoch, training_device, with_criterion
from search_spaces import Architecture
from search_spaces.cost import GraphCosts
from search_spaces.overview import extreme_architecture
from search_spaces.supernet import Supernet


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RetrainedNetwork:
    """A trained network in evaluation mode, and its one result on the test set.

    Attributes:
        epoch: the one whose weights it has.
    """

    module: nn.Sequential
    epoch: EpochRecord
    test_metrics: Mapping[str, float]

    @property
    def test_accuracy(self) -> float:
        """The first metric."""
        return float(next(iter(self.test_metrics.values())))


_Metrics = Annotated[dict[str, float], Field(min_length=1)]


def checkpoint_of(name: str) -> str:
    """Return where a network's training is kept in a run's folder."""
    return f"retrain/{name}.safetensors"


def metrics_of(name: str) -> str:
    """Return where the metrics of a retrained network are kept in a run's folder."""
    return f"retrain/{name}.json"


def retrain_networks(run: Run, found: Mapping[str, FoundNetwork], supernet: Supernet) -> dict[str, RetrainedNetwork]:
    """Train every found network alike; networks that are the same are trained once.

    They learn from all training images, except those that choose the epoch where the configuration sets some aside.
    """
    wanted = {n: f for n, f in found.items() if n not in REFERENCES or run.config.retrain.references}
    done: dict[Architecture, RetrainedNetwork] = {}
    retrained = {}
    for name, network in wanted.items():
        if network.architecture not in done:
            _adopt(run, name, [n for n, f in wanted.items() if f.architecture == network.architecture])
            done[network.architecture] = _retrain(run, name, network, supernet)
        retrained[name] = done[network.architecture]
    return retrained


def _adopt(run: Run, name: str, same: Sequence[str]) -> None:
    """Take over the training of the same network under another name, where there is one already."""
    trained = next((n for n in same if (run.folder / checkpoint_of(n)).exists()), name)
    if not (run.folder / checkpoint_of(name)).exists():
        for file in (metrics_of, checkpoint_of):  # the checkpoint last: it tells that there is something to take over
            if trained != name and (run.folder / file(trained)).exists():
                (run.folder / file(trained)).replace(run.folder / file(name))


def _retrain(run: Run, name: str, found: FoundNetwork, supernet: Supernet) -> RetrainedNetwork:
    config = run.config.retrain
    with torch.random.fork_rng(devices=[]):
        seed_torch(run.config.seed, "retrain")
        module = run.space.build(found.architecture)
    if config.inherit:
        inherit_weights(module, supernet, found.architecture)
    train, validation = run.retrain_splits
    agent, criterion, batches = run.training(config, train)
    teacher = _teacher(run, supernet) if config.distillation else None
    distill = distillation_of(TaskLoss(agent=agent), temperature=2.0)

    def accumulate(batch: tuple[torch.Tensor, torch.Tensor], *_: object) -> torch.Tensor:
        outputs = module(batch[0])
        loss = agent.loss(outputs, batch[1])
        if teacher is not None:
            with torch.no_grad():
                taught = teacher.to(batch[0].device)(batch[0])
            loss = loss + config.distillation * distill(outputs, taught)
        loss.backward()
        return loss.detach()

    def judge() -> float:
        assert validation is not None
        device = training_device(config)
        held_out = Batches.of(run.dataset, validation, config.batch_size).in_order()
        return score_of(run.agent, lambda x_NCHW: module(x_NCHW.to(device)).cpu(), held_out)

    records = Trainer(
        module=with_criterion(module, criterion),
        config=config,
        batches=batches,
        accumulate=accumulate,
        checkpoint=run.folder / checkpoint_of(name),
        name=f"retrain {name}",
        seed=run.config.seed,
        settings="retrain",
        reporter=run.reporter,
        judge=None if validation is None else judge,
    ).fit()
    epoch = best_epoch(records)
    assert epoch is not None
    module.eval()
    test = Batches.of(run.dataset, run.dataset.test, config.batch_size)
    stored = run.stored(metrics_of(name), lambda: run.test_agent.metrics(module, test.in_order()))
    metrics = as_record(_Metrics, stored, run.folder / metrics_of(name))
    return RetrainedNetwork(module=module, epoch=epoch, test_metrics=metrics)


def _teacher(run: Run, supernet: Supernet) -> nn.Module:
    """Return a copy of the supernet's largest path with BatchNorm statistics of its own, in evaluation mode."""
    largest = extreme_architecture(run.space, GraphCosts(run.space).macs, largest=True)
    teacher = supernet.subnet(largest)
    train = Batches.of(run.dataset, run.search_splits[0], run.config.supernet.batch_size)
    batches = calibration_batches(
        train, run.config.search.recalibration_batches, torch_rng(run.config.seed, "recalibration")
    )
    recalibrate(teacher, batches)
    return teacher
