"""Feasible architectures that were not proposed before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import RequestError
from hwnas.search.agent import Constraint, Space
from hwnas.search.constraint import HardLimits
from hwnas.search.counting import CountingSampler
from search_spaces import Architecture, SearchSpace

NUM_DRAWS = 200
"""Draws before rejection is given up."""

NUM_WALKS = 20
"""Walks downhill in cost before the constraint is taken to be out of reach."""

BATCH = 256


class FeasibleSampler:
    """Draws feasible architectures, each network once.

    Rejection first. Where a tight constraint lets almost nothing through, architectures are drawn by counting
    (`CountingSampler`); for spaces and constraints that can only be asked about one architecture at a time, a random
    architecture is walked downhill in cost, one random decision at a time, until it is feasible.
    """

    def __init__(self, space: Space, constraint: Constraint, rng: np.random.Generator) -> None:
        self.space = space
        self.constraint = constraint
        self.rng = rng
        self.seen: set[Architecture] = set()
        self._is_tight = False
        self._counting_sampler: CountingSampler | None = None
        self._counted: Iterator[Architecture] | None = None

    def sample(self) -> Architecture | None:
        """An unseen feasible architecture at random, in canonical form, marked as seen; None when none was found.

        Raises:
            RequestError: not one feasible architecture was ever found.
        """
        if not self._is_tight:
            found = self.first_unseen(lambda: self.space.sample(self.rng), NUM_DRAWS)
            if found is not None:
                return found
            self._is_tight = True
        if isinstance(self.space, SearchSpace) and isinstance(self.constraint, HardLimits):
            found = self._first_counted(self.space, self.constraint)
            if found is not None:
                return found
        found = self.first_unseen(self._walk_downhill, NUM_WALKS)
        if found is None and not self.seen:
            nearest = min(self.constraint.cost(self._walk_downhill(give_up=False)) for _ in range(NUM_WALKS))
            raise RequestError(f"no feasible architecture found; the lowest cost seen is {nearest:.4g}")
        return found

    def peek(self, num: int) -> NDArray[np.int64]:
        """[at most num, num_decisions] feasible architectures at random, neither canonical nor marked as seen."""
        if not (isinstance(self.space, SearchSpace) and isinstance(self.constraint, HardLimits)):
            drawn = [self.space.sample(self.rng) for _ in range(num)]
            kept = [a for a in drawn if self.constraint.is_met(a)]
            return np.array(kept, dtype=np.int64).reshape(-1, len(self.space.decisions))
        rows = self.space.sample_many(8 * num, self.rng)
        rows = rows[self.constraint.worst_share(rows) <= 1.0][:num]
        if len(rows) < num:
            if self._counting_sampler is None:
                self._counting_sampler = CountingSampler(self.space, self.constraint, self.rng)
            rows = np.concatenate([rows, self._counting_sampler.sample_many(num - len(rows), self.rng)])
        return rows

    def first_unseen(self, propose: Callable[[], Architecture], attempts: int) -> Architecture | None:
        """The first feasible, unseen proposal in canonical form, marked as seen; None after the attempts."""
        for _ in range(attempts):
            form = self.space.canonical(propose())
            if form not in self.seen and self.constraint.is_met(form):
                self.seen.add(form)
                return form
        return None

    def _first_counted(self, space: SearchSpace, limits: HardLimits) -> Architecture | None:
        if self._counted is None:
            if self._counting_sampler is None:
                self._counting_sampler = CountingSampler(space, limits, self.rng)
            self._counted = self._counting(self._counting_sampler)
        return self.first_unseen_of(self._counted, NUM_DRAWS)

    def first_unseen_of(self, proposals: Iterator[Architecture], attempts: int) -> Architecture | None:
        """The same for proposals that may come to an end."""
        for _, proposal in zip(range(attempts), proposals, strict=False):
            form = self.space.canonical(proposal)
            if form not in self.seen and self.constraint.is_met(form):
                self.seen.add(form)
                return form
        return None

    def _counting(self, sampler: CountingSampler) -> Iterator[Architecture]:
        while True:
            rows = sampler.sample_many(BATCH, self.rng)
            if not len(rows):
                return
            yield from (tuple(row) for row in rows.tolist())

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
