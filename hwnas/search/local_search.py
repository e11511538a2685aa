"""Local search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hwnas.search.agent import Constraint, Evaluation, SearchAgent, Space
from hwnas.search.sampling import FeasibleSampler
from search_spaces import Architecture

NUM_INITIAL = 10


class LocalSearchAgent(SearchAgent):
    """All neighbours of the best unexplored architecture, in random order (White et al. 2021, local search).

    A neighbour differs in one choice. As soon as one is better, its neighbourhood comes first; where all neighbours are
    known, the next best architecture's does.
    """

    def __init__(self, space: Space, constraint: Constraint, rng: np.random.Generator) -> None:
        self._space = space
        self._rng = rng
        self._sampler = FeasibleSampler(space, constraint, rng)
        self.reasons: dict[Architecture, str] = self._sampler.reasons
        self._told: list[Evaluation] = []
        self._explored: set[Architecture] = set()
        self._centre: Evaluation | None = None
        self._neighbours: Iterator[Architecture] = iter(())

    def ask(self, num: int) -> list[Architecture]:
        """Return an initial design at random, then neighbours; random ones once there are no more."""
        return self._sampler.fill(num, self._next)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Move to what is better than the centre."""
        self._told += evaluations
        best = max(evaluations, key=lambda e: e.score, default=None)
        if best is not None and (self._centre is None or best.score > self._centre.score):
            self._move_to(best)

    def _next(self, num_found: int) -> Architecture | None:
        return None if len(self._told) + num_found < NUM_INITIAL else self._neighbour()

    def _neighbour(self) -> Architecture | None:
        while True:
            found = self._sampler.first_unseen_of(self._neighbours, 10_000)
            if found is not None:
                self.reasons[found] = (
                    f"neighbour of {'-'.join(map(str, self._centre.architecture))}" if self._centre else ""
                )
                return found
            unexplored = [e for e in self._told if e.architecture not in self._explored]
            if not unexplored:
                return None
            self._move_to(max(unexplored, key=lambda e: e.score))

    def _move_to(self, centre: Evaluation) -> None:
        self._centre = centre
        self._explored.add(centre.architecture)
        changes = [(i, c) for i, d in enumerate(self._space.decisions) for c in range(len(d.choices))]
        order = self._rng.permutation(len(changes))
        current = centre.architecture
        self._neighbours = iter(
            [(*current[:i], c, *current[i + 1 :]) for i, c in (changes[k] for k in order) if current[i] != c]
        )
