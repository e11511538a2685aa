"""Evolution under a constraint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hwnas.search.agent import Constraint, Evaluation, SearchAgent, Space
from hwnas.search.sampling import FeasibleSampler
from search_spaces import Architecture

NUM_INITIAL = 20
NUM_PARENTS = 10
MUTATION_RATE = 0.1
"""Chance of each decision to be drawn again, as in Guo et al. 2020; at least one always is."""

NUM_ATTEMPTS = 100
"""Children tried before a random architecture takes their place."""


class EvolutionAgent(SearchAgent):
    """Mutation and crossover of the best so far (Guo et al. 2020, algorithm 1).

    Begins with random feasible architectures. A child that breaks the constraint or was proposed before is drawn again;
    where no new one turns up, a random feasible architecture takes its place.
    """

    def __init__(self, space: Space, constraint: Constraint, rng: np.random.Generator) -> None:
        self._space = space
        self._rng = rng
        self._sampler = FeasibleSampler(space, constraint, rng)
        self.reasons: dict[Architecture, str] = self._sampler.reasons
        self._parents: list[Evaluation] = []
        self._num_told = 0

    def ask(self, num: int) -> list[Architecture]:
        """Return the initial design, then children; fewer once unseen feasible architectures cannot be found."""
        return self._sampler.fill(num, self._next)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep the best as parents."""
        self._num_told += len(evaluations)
        pool = [*self._parents, *evaluations]
        self._parents = sorted(pool, key=lambda e: -e.score)[:NUM_PARENTS]

    def _next(self, num_found: int) -> Architecture | None:
        is_initial = not self._parents or self._num_told + num_found < NUM_INITIAL
        return None if is_initial else self._child()

    def _child(self) -> Architecture | None:
        makers: dict[str, Callable[[], Architecture]] = {"mutation": self._mutant, "crossing": self._crossing}
        reason = "mutation" if self._rng.random() < 0.5 else "crossing"
        child = self._sampler.first_unseen(makers[reason], NUM_ATTEMPTS)
        if child is not None:
            self.reasons[child] = reason
        return child

    def _parent(self) -> Architecture:
        return self._parents[int(self._rng.integers(len(self._parents)))].architecture

    def _mutant(self) -> Architecture:
        parent, fresh = self._parent(), self._space.sample(self._rng)
        is_drawn = self._rng.random(len(parent)) < MUTATION_RATE
        is_drawn[self._rng.integers(len(parent))] = True
        return tuple(new if drawn else old for old, new, drawn in zip(parent, fresh, is_drawn, strict=True))

    def _crossing(self) -> Architecture:
        one, other = self._parent(), self._parent()
        is_first = self._rng.random(len(one)) < 0.5
        return tuple(a if first else b for a, b, first in zip(one, other, is_first, strict=True))
