"""Many objectives at once: NSGA-II."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas.search.agent import Constraint, Evaluation, SearchAgent, Space
from hwnas.search.sampling import FeasibleSampler
from hwnas.setting_types import Objective
from search_spaces import Architecture

POPULATION = 40
NUM_ATTEMPTS = 100
CROSSOVER_RATE = 0.9


class Nsga2Agent(SearchAgent):
    """Score against every cost: parents by rank and crowding (Deb et al. 2002), sorted by pymoo (Blank and Deb 2020).

    Keeps a spread of good architectures from the cheapest to the most accurate, not the best one alone.
    """

    objectives: ClassVar[tuple[Objective, ...]] = ("front",)

    def __init__(self, space: Space, constraint: Constraint, rng: np.random.Generator) -> None:
        self._space = space
        self._rng = rng
        self._sampler = FeasibleSampler(space, constraint, rng)
        self.reasons: dict[Architecture, str] = self._sampler.reasons
        self._population: list[Evaluation] = []
        self._ranks: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._crowding: NDArray[np.float64] = np.zeros(0)
        self._num_told = 0

    def ask(self, num: int) -> list[Architecture]:
        """Return an initial design at random, then children of tournaments' winners."""
        return self._sampler.fill(num, self._next)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """The next population: whole fronts, of the last one the least crowded."""
        self._num_told += len(evaluations)
        pool = [*self._population, *evaluations]
        ranks, crowding = rank_and_crowding(pool)
        order = np.lexsort((-crowding, ranks))[:POPULATION]
        self._population = [pool[i] for i in order]
        self._ranks, self._crowding = ranks[order], crowding[order]

    def _next(self, num_found: int) -> Architecture | None:
        is_initial = self._num_told + num_found < POPULATION
        child = None if is_initial else self._sampler.first_unseen(self._child, NUM_ATTEMPTS)
        if child is not None:
            self.reasons[child] = "child of the front"
        return child

    def _parent(self) -> Architecture:
        one, other = self._rng.integers(len(self._population), size=2).tolist()
        is_better = bool((self._ranks[one], -self._crowding[one]) <= (self._ranks[other], -self._crowding[other]))
        winner: int = one if is_better else other
        return self._population[winner].architecture

    def _child(self) -> Architecture:
        child = np.array(self._parent())
        if self._rng.random() < CROSSOVER_RATE:
            child = np.where(self._rng.random(len(child)) < 0.5, child, self._parent())
        is_drawn = self._rng.random(len(child)) < 1.0 / len(child)
        changed = np.where(is_drawn, np.array(self._space.sample(self._rng)), child)
        return tuple(int(c) for c in changed)


def objectives(evaluations: Sequence[Evaluation]) -> NDArray[np.float64]:
    """Return [num, 1 + num_costs] to be made small: the score's negative, and the costs."""
    return np.array([[-e.score, *e.costs.values()] for e in evaluations], dtype=np.float64)


def rank_and_crowding(evaluations: Sequence[Evaluation]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return [num] number of the front, 0 the best, and [num] how far apart the neighbours within it are."""
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    values = objectives(evaluations)
    ranks = np.zeros(len(values), dtype=np.int64)
    crowding = np.zeros(len(values))
    for rank, front in enumerate(NonDominatedSorting().do(values)):
        ranks[front] = rank
        crowding[front] = calc_crowding_distance(values[front])
    return ranks, crowding


def pareto_front(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return those that no other beats in score and in every cost, cheapest first, each network once."""
    if not evaluations:
        return []
    ranks, _ = rank_and_crowding(evaluations)
    first = {e.architecture: e for e, rank in zip(evaluations, ranks, strict=True) if rank == 0}
    return sorted(first.values(), key=lambda e: tuple(e.costs.values()))
