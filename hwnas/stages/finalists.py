"""Measuring the best networks of a search on the device, until one keeps the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from hwnas.artifacts import MeasuredFinalist
from hwnas.constraint import HardLimits
from hwnas.measured import Measured
from hwnas.profiling import NOTABLE_DRIFT
from hwnas.run_folder import SearchFiles
from hwnas.search import Evaluation, SearchResult
from hwnas.stages.halving import ShortTrainings
from hwnas.stages.latency import Latency
from hwnas.stages.limits import search_limits
from hwnas.stages.setup import Setup
from hwnas.stages.speed import references_of
from search_spaces import Architecture

LEAST_SLACK = 0.02
"""Predictions are never trusted to less than this when a network is passed over."""

PAUSES_S = (2.0, 8.0, 20.0)
"""What is waited before networks are measured once more that a slowed machine alone keeps from their budget: what
neighbours do often passes, and a network that is passed over for it is lost."""

Measure = Callable[[Sequence[Evaluation], int], list[Measured]]
"""Measures a group of networks, the number of which tells where its samples are kept."""

Rank = Callable[[Sequence[Evaluation]], Sequence[Evaluation]]
"""Returns networks in order, the best first."""


def by_score(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return networks by the scores that the search gave them."""
    return sorted(evaluations, key=lambda e: -e.score)


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

    Made anew, the same networks are measured in the same groups.

    Args:
        ranked: the evaluations that are worth measuring, in the order they are to be measured in.
        preferred: the network that is best where it keeps the budget, whatever its score: the original.
        measure: gives the latencies of a group; those that were measured before are read.
        group_size: networks that are measured together.
        rank: tells which is the best of those that keep the budget.
    """

    def __init__(
        self,
        ranked: Sequence[Evaluation],
        measure: Measure,
        latency: Latency,
        max_ms: float,
        *,
        group_size: int,
        preferred: Architecture | None = None,
        rank: Rank = by_score,
    ) -> None:
        self._measure_group, self._latency, self._max_ms, self._group_size = measure, latency, max_ms, group_size
        self._preferred, self._rank = preferred, rank
        self._left = sorted(ranked, key=lambda e: e.architecture != preferred)
        self._num_groups = 0
        self.measured: list[Finalist] = []

    def best(
        self, *, now: Measured | None = None, room: float = 1.0, without: Collection[Architecture] = ()
    ) -> Finalist | None:
        """Return the best finalist that keeps the budget; None where none does.

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
            return self._best_of(keeping)

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
        """Return the best evaluation of those that keep the budget as far as the table tells."""
        keeping = [e for e in self._left if e.costs["latency_ms"] <= self._max_ms]
        preferred = (e for e in keeping if e.architecture == self._preferred)
        return next(preferred, None) or self._rank(keeping)[0]

    def add(self, evaluation: Evaluation) -> None:
        """Add one more candidate."""
        self._left.append(evaluation)

    @property
    def rows(self) -> tuple[MeasuredFinalist, ...]:
        """The finalists that were measured, for the record."""
        return tuple(
            MeasuredFinalist(
                architecture=f.architecture,
                score=f.evaluation.score,
                costs=dict(f.evaluation.costs),
                **f.measured.figures,
                probability_within_budget=self._latency.probability(f.evaluation.costs["latency_ms"], self._max_ms),
            )
            for f in self.measured
        )

    @property
    def slow_down(self) -> float:
        """The median ratio of measured to predicted latency of the networks measured so far; 1 before any was."""
        ratios = [f.measured.latency_ms / f.evaluation.costs["latency_ms"] for f in self.measured]
        return float(np.median(ratios)) if ratios else 1.0

    def _best_of(self, finalists: Sequence[Finalist]) -> Finalist | None:
        """Return the best of some finalists: the preferred one, else the first by rank; None where there is none."""
        if not finalists:
            return None
        by_architecture = {f.architecture: f for f in finalists}
        if self._preferred is not None and self._preferred in by_architecture:
            return by_architecture[self._preferred]
        return by_architecture[self._rank([f.evaluation for f in finalists])[0].architecture]

    def _hopeful(self) -> list[Evaluation]:
        """Return the evaluations that may keep the budget if they are as far off as those measured so far."""
        if not self.measured:
            return self._left
        least = self.slow_down * (1 - max(LEAST_SLACK, self._latency.error))
        return [e for e in self._left if least * e.costs["latency_ms"] <= self._max_ms]

    def _measure(self, candidates: Sequence[Evaluation]) -> None:
        group = candidates[: self._group_size]
        measured = self._measure_group(group, self._num_groups)
        self.measured += [Finalist(evaluation=e, measured=m) for e, m in zip(group, measured, strict=True)]
        self._left = [e for e in self._left if e not in group]
        self._num_groups += 1


def is_missed_by_slowness(measured: Measured, max_ms: float) -> bool:
    """Return whether a network misses a budget that it keeps on the machine as it was when the table was made."""
    table_ms, slower = measured.table_ms, measured.drift or 1.0
    return table_ms is not None and slower > 1 + NOTABLE_DRIFT and table_ms <= max_ms < measured.at_worst_ms


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selection:
    """The means by which winners are selected among the networks that the searches of a run found.

    Attributes:
        constraint: what every network must keep.
        files: where searches and measurements lie.
        group_size: networks that are measured together.
        trainings: of networks alone before one is named the winner; None where the search's scores tell.
    """

    setup: Setup
    latency: Latency
    constraint: HardLimits
    files: SearchFiles
    group_size: int
    trainings: ShortTrainings | None = None

    def limits(self, max_ms: float) -> HardLimits:
        """Return what networks must keep by prediction to be worth evaluating under a budget."""
        return search_limits(self.constraint, self.latency, max_ms)

    def finalists(self, name: str, max_ms: float) -> Finalists:
        """Return the finalists for the winner of that name under a budget, best first, none of them measured yet."""
        limits = self.limits(max_ms)
        among = tuple(e for e in self.files.evaluations() if limits.is_met(e.architecture))
        ranked, trainings = SearchResult(history=among).ranked, self.trainings
        return Finalists(
            ranked if trainings is None else trainings.worth_measuring(ranked),
            partial(self._measured, name, max_ms, iter(PAUSES_S)),
            self.latency,
            max_ms,
            group_size=self.group_size,
            preferred=self.setup.space.original,
            rank=by_score if trainings is None else trainings.ranked,
        )

    def _measured(
        self, name: str, max_ms: float, pauses_s: Iterator[float], group: Sequence[Evaluation], number: int
    ) -> list[Measured]:
        """Return the latencies of a group, measured again while the machine's slowness alone decides about the budget.

        Of several measurements the one counts that was made when the machine was fastest.

        Args:
            pauses_s: what is left to be waited for all groups: a machine that stays slow is waited for once.
        """
        best = self._measured_once(group, self.files.finalists(name, number))
        for again in count(1):
            if not any(is_missed_by_slowness(m, max_ms) for m in best) or (pause_s := next(pauses_s, None)) is None:
                break
            journal = self.files.finalists(name, number, again)
            if not journal.exists():
                self.setup.reporter.line(f"that decides about the budget: measured once more in {pause_s:g} s")
                time.sleep(pause_s)
            best = min(best, self._measured_once(group, journal), key=lambda found: found[0].drift or 1.0)
        return best

    def _measured_once(self, group: Sequence[Evaluation], journal: Path) -> list[Measured]:
        journal.parent.mkdir(exist_ok=True)
        paths = {"-".join(map(str, e.architecture)): self.setup.model_of(e.architecture) for e in group}
        references = references_of(self.setup, self.latency.model.table, self.latency.near_ms, self.latency.speed)
        found = self.setup.measured(paths, journal, references=references)
        return [found[key] for key in paths]
