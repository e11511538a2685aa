"""Feasible architectures that were not proposed before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwnas.errors import RequestError
from hwnas.search.agent import Constraint, Space
from search_spaces import Architecture

NUM_DRAWS = 200
"""Draws before rejection is given up for walking downhill."""

NUM_WALKS = 20
"""Walks before the constraint is taken to be out of reach."""


class FeasibleSampler:
    """Draws feasible architectures, each network once.

    Rejection first. Where a tight constraint lets almost nothing through, a random architecture is walked downhill
    in cost, one random decision at a time, until it is feasible.
    """

    def __init__(self, space: Space, constraint: Constraint, rng: np.random.Generator) -> None:
        self.space = space
        self.constraint = constraint
        self.rng = rng
        self.seen: set[Architecture] = set()

    def sample(self) -> Architecture | None:
        """An unseen feasible architecture at random, in canonical form, marked as seen; None when none was found.

        Raises:
            RequestError: not one feasible architecture was ever found.
        """
        found = self.first_unseen(lambda: self.space.sample(self.rng), NUM_DRAWS)
        if found is not None:
            return found
        found = self.first_unseen(self._walk_downhill, NUM_WALKS)
        if found is None and not self.seen:
            nearest = min(self.constraint.cost(self._walk_downhill(give_up=False)) for _ in range(NUM_WALKS))
            raise RequestError(f"no feasible architecture found; the lowest cost seen is {nearest:.4g}")
        return found

    def first_unseen(self, propose: Callable[[], Architecture], attempts: int) -> Architecture | None:
        """The first feasible, unseen proposal in canonical form, marked as seen; None after the attempts."""
        for _ in range(attempts):
            form = self.space.canonical(propose())
            if form not in self.seen and self.constraint.is_met(form):
                self.seen.add(form)
                return form
        return None

    def _walk_downhill(self, *, give_up: bool = True) -> Architecture:
        current = self.space.sample(self.rng)
        cost = self.constraint.cost(current)
        decisions = self.space.decisions
        for position in _passes(len(decisions), self.rng, num_passes=4):
            if give_up and self.constraint.is_met(current):
                break
            choice = int(self.rng.integers(len(decisions[position].choices)))
            changed = (*current[:position], choice, *current[position + 1 :])
            changed_cost = self.constraint.cost(changed)
            if changed_cost < cost:
                current, cost = changed, changed_cost
        return current


def _passes(num_positions: int, rng: np.random.Generator, *, num_passes: int) -> list[int]:
    """Every position several times over, in random order."""
    return [int(i) for _ in range(num_passes * 4) for i in rng.permutation(num_positions)]
