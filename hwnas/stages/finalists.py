"""Measuring the best networks of a search on the device, until one keeps the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from hwnas.artifacts import DeviceLatency, MeasuredFinalist
from hwnas.constraint import LATENCY, HardLimits
from hwnas.measured import Measured
from hwnas.profiling import NOTABLE_DRIFT
from hwnas.run_folder import SearchFiles
from hwnas.search import Evaluation, SearchResult
from hwnas.stages.halving import ShortTrainings
from hwnas.stages.latency import FleetMember, Latency
from hwnas.stages.limits import search_limits
from hwnas.stages.setup import Setup
from hwnas.stages.speed import references_of
from search_spaces import Architecture

LEAST_SLACK = 0.02
"""Predictions are never trusted to less than this when a network is passed over."""

PAUSES_S = (2.0, 8.0, 20.0)
"""What is waited before networks are measured once more that a slowed machine alone keeps from their budget: what
neighbours do often passes, and a network that is passed over for it is lost."""

Rank = Callable[[Sequence[Evaluation]], Sequence[Evaluation]]
"""Returns networks in order, the best first."""


def by_score(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return networks by the scores that the search gave them."""
    return sorted(evaluations, key=lambda e: -e.score)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finalist:
    """A network of the search, and what it takes.

    Attributes:
        elsewhere: its latencies on the further devices of a fleet that were measured, by their names.
    """

    evaluation: Evaluation
    measured: Measured
    elsewhere: Mapping[str, Measured] = field(default_factory=dict)

    @property
    def architecture(self) -> Architecture:
        """The network's choices."""
        return self.evaluation.architecture

    def keeps(self, fleet: Sequence[FleetMember], latency_ms: Callable[[Measured], float]) -> bool:
        """Return whether it keeps the budgets of further devices as measured; where it was not, its prediction does."""
        return all(
            latency_ms(self.elsewhere[member.name]) <= member.latency.max_ms
            for member in fleet
            if member.name in self.elsewhere
        )


Measure = Callable[[Sequence[Evaluation], int], list[Finalist]]
"""Measures a group of networks, the number of which tells where its samples are kept."""


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
                and f.keeps(self._latency.fleet, latency_ms)
            ]
            return self._best_of(keeping)

        while True:
            if finalist := found(lambda m: m.at_worst_ms):
                return finalist
            if not (hopeful := self._hopeful()):
                break
            self._measure(hopeful)
        while not (finalist := found(lambda m: m.latency_ms)) and self._left:
            self._measure(sorted(self._left, key=self._share))
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
                fleet=latencies_elsewhere(self._latency.fleet, f.architecture, f.elsewhere),
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
        """Return the evaluations that may keep the budgets if they are as far off as those measured so far."""
        if not self.measured:
            return self._left
        least = {LATENCY: self.slow_down * (1 - max(LEAST_SLACK, self._latency.error))}
        most_ms = {LATENCY: self._max_ms}
        for member in self._latency.fleet:
            pairs = [(f.elsewhere[member.name], f.evaluation) for f in self.measured if member.name in f.elsewhere]
            if pairs:
                off = float(np.median([m.latency_ms / e.costs[member.cost] for m, e in pairs]))
                least[member.cost] = off * (1 - max(LEAST_SLACK, member.latency.error))
                most_ms[member.cost] = member.latency.max_ms
        return [e for e in self._left if all(least[n] * e.costs[n] <= most_ms[n] for n in least)]

    def _share(self, evaluation: Evaluation) -> float:
        """Return the largest share of its budget that a network takes on any device by prediction."""
        shares = [evaluation.costs[m.cost] / m.latency.max_ms for m in self._latency.fleet]
        return max([evaluation.costs[LATENCY] / self._max_ms, *shares])

    def _measure(self, candidates: Sequence[Evaluation]) -> None:
        group = candidates[: self._group_size]
        self.measured += self._measure_group(group, self._num_groups)
        self._left = [e for e in self._left if e not in group]
        self._num_groups += 1


def latencies_elsewhere(
    fleet: Sequence[FleetMember], architecture: Architecture, measured: Mapping[str, Measured]
) -> dict[str, DeviceLatency]:
    """Return what is known of a network's latencies on further devices, by their names.

    Args:
        measured: its latencies by the names of those that it was measured on.
    """
    return {
        member.name: DeviceLatency(
            predicted_ms=member.latency.model.predict_one_ms(architecture),
            max_ms=member.latency.max_ms,
            measured=measured.get(member.name),
        )
        for member in fleet
    }


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
            partial(self._finalists, name, max_ms, iter(PAUSES_S)),
            self.latency,
            max_ms,
            group_size=self.group_size,
            preferred=self.setup.space.original,
            rank=by_score if trainings is None else trainings.ranked,
        )

    def _finalists(
        self, name: str, max_ms: float, pauses_s: Iterator[float], group: Sequence[Evaluation], number: int
    ) -> list[Finalist]:
        """Return a group of networks with their latencies on every device that can be measured."""
        measured = self._measured(name, max_ms, pauses_s, group, number)
        elsewhere: list[dict[str, Measured]] = [{} for _ in group]
        for member in self.latency.fleet:
            for own, there in zip(elsewhere, self._measured_on(name, member, group, number), strict=False):
                own[member.name] = there
        return [
            Finalist(evaluation=e, measured=m, elsewhere=own)
            for e, m, own in zip(group, measured, elsewhere, strict=True)
        ]

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
        paths = _models(self.setup, group)
        references = references_of(self.setup, self.latency.model.table, self.latency.near_ms, self.latency.speed)
        found = self.setup.measured(paths, journal, references=references)
        return [found[key] for key in paths]

    def _measured_on(self, name: str, member: FleetMember, group: Sequence[Evaluation], number: int) -> list[Measured]:
        """Return the latencies of a group on a further device; an empty list where that cannot be measured."""
        if not member.is_measured:
            return []
        paths = _models(member.setup, group)
        found = member.measured(paths, self.files.finalists(name, number, device=member.name))
        return [found[key] for key in paths] if found else []


def _models(setup: Setup, group: Sequence[Evaluation]) -> dict[str, Path]:
    """Return the files of networks as they are measured on a device, by their names in journals."""
    return {"-".join(map(str, e.architecture)): setup.model_of(e.architecture) for e in group}
