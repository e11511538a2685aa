"""Evaluators, which tell what an architecture is worth, by name, and where they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from hwnas.components import find
from hwnas.config import TABULAR
from hwnas.evaluators.inputs import EvaluatorInputs
from hwnas.evaluators.score import Score
from hwnas.evaluators.short_training import ShortTraining
from hwnas.evaluators.supernet import SupernetEvaluator, calibration_batches
from hwnas.evaluators.tabular import load_tabular
from hwnas.evaluators.zero_cost import PROXIES, ZeroCost
from hwnas.training.randomness import torch_rng
from search_spaces import Architecture, SearchSpace


class Evaluator(Protocol):
    """Scores architectures one at a time; the same architecture always gets the same score."""

    def score(self, architecture: Architecture) -> float:
        """Return the score; higher is better."""
        ...


@runtime_checkable
class ChunkwiseEvaluator(Evaluator, Protocol):
    """Looks at images chunk by chunk, and need not go on to the last."""

    def evaluate(self, architecture: Architecture, baseline: Score | None) -> Score:
        """Return the complete score, of the value of `score`, or an estimate once it will not reach its baseline."""
        ...


def supernet_evaluator(inputs: EvaluatorInputs) -> Evaluator:
    """Score with the supernet's weights, BatchNorm statistics made anew (the default)."""
    task, splits = inputs.task, inputs.splits
    return SupernetEvaluator(
        inputs.supernet,
        task.agent,
        calibration=calibration_batches(
            task.batches(splits.train, inputs.batch_size),
            inputs.recalibration_batches,
            torch_rng(inputs.seed, "recalibration"),
        ),
        validation=list(task.batches(splits.validation, inputs.batch_size).in_order()),
    )


def short_training(inputs: EvaluatorInputs) -> Evaluator:
    """The metric that ranks networks, after training alone for `search.short_epochs` epochs."""
    return ShortTraining(inputs)


def _zero_cost(name: str) -> Callable[[EvaluatorInputs], Evaluator]:
    def make(inputs: EvaluatorInputs) -> Evaluator:
        batches = inputs.task.batches(inputs.splits.train, inputs.batch_size)
        x_NCHW, targets_N = next(iter(batches.shuffled(torch_rng(inputs.seed, "zero_cost"))))
        loss = inputs.task.agent.loss
        return ZeroCost(inputs.space, PROXIES[name], x_NCHW, targets_N, loss=loss, seed=inputs.seed)

    make.__doc__ = (PROXIES[name].__doc__ or "").partition("\n")[0]
    return make


EVALUATORS: dict[str, Callable[[EvaluatorInputs], Evaluator]] = {
    "short-training": short_training,
    "supernet": supernet_evaluator,
    **{name: _zero_cost(name) for name in PROXIES},
}
"""Evaluators by name; `tabular:FILE` is another, which looks accuracies up."""


def make_evaluator(name: str, inputs: EvaluatorInputs) -> Evaluator:
    """Return the evaluator of that name.

    Raises:
        RequestError: there is none; or a benchmark's file cannot be read, or is of another space.
    """
    if name.startswith(TABULAR):
        return tabular_evaluator(name, inputs.space)
    evaluator: Evaluator = find("evaluator", name)(inputs)
    return evaluator


def tabular_evaluator(name: str, space: SearchSpace) -> Evaluator:
    """Return the evaluator that looks accuracies up in the file of `tabular:FILE`.

    Raises:
        RequestError: the file cannot be read, or is of another space.
    """
    return load_tabular(Path(name.removeprefix(TABULAR))).of_space(space)


__all__ = [
    "EVALUATORS",
    "Evaluator",
    "EvaluatorInputs",
    "ChunkwiseEvaluator",
    "make_evaluator",
    "supernet_evaluator",
    "tabular_evaluator",
]
