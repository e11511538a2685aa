"""Evaluators, which tell what an architecture is worth, by name, and where they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from hwnas.config import TABULAR
from hwnas.dataflow import Batches
from hwnas.evaluators.short_training import ShortTraining
from hwnas.evaluators.zero_cost import PROXIES, ZeroCost
from hwnas.parts import find
from hwnas.run import Run
from hwnas.search.judgement import Judgement
from hwnas.search.tabular import load_tabular
from hwnas.supernet import SupernetEvaluator
from hwnas.supernet.evaluation import calibration_batches
from hwnas.training.randomness import torch_rng
from search_spaces import Architecture
from search_spaces.supernet import Supernet


class Evaluator(Protocol):
    """Scores architectures one at a time; the same architecture always gets the same score."""

    def score(self, architecture: Architecture) -> float:
        """Return the score; higher is better."""
        ...


@runtime_checkable
class PartwiseEvaluator(Evaluator, Protocol):
    """Looks at images part by part, and need not go on to the last."""

    def judge(self, architecture: Architecture, rival: Judgement | None) -> Judgement:
        """Return a complete judgement, with the score of `score`, or one given up once it will not reach its rival."""
        ...


def supernet_evaluator(run: Run, supernet: Supernet) -> Evaluator:
    """How well it does with the supernet's weights, BatchNorm statistics made anew (the default)."""
    train, validation = (Batches.of(run.dataset, s, run.config.supernet.batch_size) for s in run.search_splits)
    return SupernetEvaluator(
        supernet,
        run.agent,
        calibration=calibration_batches(
            train, run.config.search.recalibration_batches, torch_rng(run.config.seed, "recalibration")
        ),
        validation=list(validation.in_order()),
    )


def short_training(run: Run, _supernet: Supernet) -> Evaluator:
    """Accuracy after training alone for `search.short_epochs` epochs."""
    return ShortTraining(run)


def _zero_cost(name: str) -> Callable[[Run, Supernet], Evaluator]:
    def make(run: Run, _supernet: Supernet) -> Evaluator:
        batches = Batches.of(run.dataset, run.search_splits[0], run.config.supernet.batch_size)
        x_NCHW, targets_N = next(iter(batches.shuffled(torch_rng(run.config.seed, "zero_cost"))))
        return ZeroCost(run.space, PROXIES[name], x_NCHW, targets_N, loss=run.agent.loss, seed=run.config.seed)

    make.__doc__ = (PROXIES[name].__doc__ or "").partition("\n")[0]
    return make


EVALUATORS: dict[str, Callable[[Run, Supernet], Evaluator]] = {
    "short-training": short_training,
    "supernet": supernet_evaluator,
    **{name: _zero_cost(name) for name in PROXIES},
}
"""Evaluators by name; `tabular:FILE` is another, which looks accuracies up."""


def make_evaluator(run: Run, supernet: Supernet) -> Evaluator:
    """Return the evaluator that the run's configuration names.

    Raises:
        RequestError: a benchmark's file cannot be read, or is of another space.
    """
    name = run.config.search.evaluator
    if name.startswith(TABULAR):
        return load_tabular(run.tabular_path).of_space(run.space)
    evaluator: Evaluator = find("evaluator", name)(run, supernet)
    return evaluator


__all__ = ["EVALUATORS", "Evaluator", "PartwiseEvaluator", "make_evaluator", "supernet_evaluator"]
