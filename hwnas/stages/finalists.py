"""Measuring the best networks of a search on the device, until one keeps the budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.front import load_history
from hwnas.profiling import Measured, measure_networks, onnx_cache
from hwnas.run import Run
from hwnas.search import Evaluation, HardLimits, SearchResult
from hwnas.stages.latency import Latency
from hwnas.stages.speed import references_of
from hwnas.stages.table import ROUNDS, num_finalists
from lut.precision import network_in_precision
from search_spaces import Architecture

LEAST_SLACK = 0.02
"""Predictions are never trusted to less than this when a network is passed over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finalist:
    """A network of the search, and what it takes."""

    evaluation: Evaluation
    measured: Measured

    @property
    def architecture(self) -> Architecture:
        """The network's choices."""
        return self.evaluation.architecture


class Finalists:
    """The networks of a search under one budget, measured group by group in order of score as far as is needed.

    What was measured lies in the run's folder: made anew, the same networks are measured in the same groups, and those
    that were are read.

    Args:
        ranked: the evaluations that are worth measuring, best first.
        name: of the winner that they are candidates for.
    """

    def __init__(self, run: Run, ranked: Sequence[Evaluation], latency: Latency, max_ms: float, name: str) -> None:
        self._run, self._latency, self._max_ms, self._name = run, latency, max_ms, name
        self._left = list(ranked)
        self._num_groups = 0
        self.measured: list[Finalist] = []

    def best(
        self, *, now: Measured | None = None, room: float = 1.0, without: Collection[Architecture] = ()
    ) -> Finalist | None:
        """Return the finalist of the highest score that keeps the budget; None where none does.

        It leaves a margin for what repeats of its measurement differ by, unless none of all does.

        Args:
            now: a measurement made when the machine was as fast as it is to be kept at; None for as it was for each.
            room: how many times its latency must keep the budget.
            without: what is out of the question.
        """

        def found(latency_ms: Callable[[Measured], float]) -> Finalist | None:
            keeping = [
                f
                for f in self.measured
                if f.architecture not in without
                and room * (1.0 if now is None else now.slower_by(f.measured)) * latency_ms(f.measured) <= self._max_ms
            ]
            return max(keeping, key=lambda f: f.evaluation.score, default=None)

        while True:
            if finalist := found(lambda m: m.at_worst_ms):
                return finalist
            if not (hopeful := self._hopeful()):
                break
            self._measure(hopeful)
        while not (finalist := found(lambda m: m.latency_ms)) and self._left:
            self._measure(sorted(self._left, key=lambda e: e.costs["latency_ms"]))
        return finalist

    def best_by_prediction(self) -> Evaluation:
        """Return the evaluation of the highest score that keeps the budget as far as the table tells."""
        return next(e for e in self._left if e.costs["latency_ms"] <= self._max_ms)

    def add(self, evaluation: Evaluation) -> None:
        """Add one more candidate."""
        self._left.append(evaluation)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The finalists that were measured, as rows for the record."""
        return [
            {
                **f.evaluation.as_dict(),
                **f.measured.as_dict(),
                "probability_within_budget": self._latency.probability(f.evaluation.costs["latency_ms"], self._max_ms),
            }
            for f in self.measured
        ]

    @property
    def slow_down(self) -> float:
        """The median ratio of measured to predicted latency of the networks measured so far; 1 before any was."""
        ratios = [f.measured.latency_ms / f.evaluation.costs["latency_ms"] for f in self.measured]
        return float(np.median(ratios)) if ratios else 1.0

    def _hopeful(self) -> list[Evaluation]:
        """Return the evaluations that may keep the budget if they are as far off as those measured so far."""
        if not self.measured:
            return self._left
        least = self.slow_down * (1 - max(LEAST_SLACK, self._latency.error))
        return [e for e in self._left if least * e.costs["latency_ms"] <= self._max_ms]

    def _measure(self, candidates: Sequence[Evaluation]) -> None:
        group = candidates[: num_finalists(self._run, self._latency.doubt)]
        label = str(self._num_groups) if self._name == "winner" else f"{self._name}-{self._num_groups}"
        measured = _measure_group(self._run, group, self._latency, label)
        self.measured += [Finalist(evaluation=e, measured=m) for e, m in zip(group, measured, strict=True)]
        self._left = [e for e in self._left if e not in group]
        self._num_groups += 1


def ranked(run: Run, limits: HardLimits) -> tuple[Evaluation, ...]:
    """Return what the run's searches found within the limits, best first."""
    among = tuple(e for e in load_history(run) if limits.is_met(e.architecture))
    return SearchResult(history=among, seed=run.config.seed).ranked


def search_limits(constraint: HardLimits, latency: Latency, max_ms: float) -> HardLimits:
    """Return what a network must keep by prediction to be worth evaluating under a budget."""
    return constraint.with_maximum("latency_ms", max_ms * latency.search_margin)


def _measure_group(run: Run, group: Sequence[Evaluation], latency: Latency, label: str) -> list[Measured]:
    folder = run.folder / "search" / "finalists"
    folder.mkdir(exist_ok=True)
    paths = {
        "-".join(map(str, e.architecture)): network_in_precision(
            run.space,
            e.architecture,
            onnx_cache(),
            run.config.precision,
            batch=run.device.batch,
            opset=run.device.opset,
        )
        for e in group
    }
    found = measure_networks(
        paths,
        run.device,
        folder / f"{label}.journal",
        rounds=ROUNDS,
        seed=run.config.seed,
        reporter=run.reporter,
        references=references_of(run, latency.model.table, latency.max_ms, latency.speed),
    )
    return [found[name] for name in paths]
