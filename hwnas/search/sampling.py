"""Feasible architectures that were not proposed before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.constraint import HardLimits
from hwnas.errors import RequestError
from hwnas.search.agent import Constraint, Space
from hwnas.search.counting import CountingSampler
from search_spaces import Architecture, SearchSpace

NUM_DRAWS = 200
"""Draws before rejection is given up."""

NUM_WALKS = 20
"""Walks downhill in cost before the constraint is taken to be out of reach."""

BATCH = 256

MOST_LISTED = 20_000
"""Spaces of no more choice combinations are looked at whole."""


class FeasibleSampler:
    """Draws feasible architectures, each network once.

    Rejection first. Where a tight constraint lets almost nothing through, the feasible architectures of small spaces
    are listed, those of large ones drawn by counting (`CountingSampler`). For large spaces and constraints that can
    only be asked about one architecture at a time, a random architecture is walked downhill in cost, one random
    decision at a time, until it is feasible.
    """

    def __init__(self, space: Space, constraint: Constraint, rng: np.random.Generator) -> None:
        self.space = space
        self.constraint = constraint
        self.rng = rng
        self.seen: set[Architecture] = set()
        self.reasons: dict[Architecture, str] = {}
        """Why each was proposed, for the history."""
        self._is_tight = False
        self._counting_sampler: CountingSampler | None = None
        self._rest: Iterator[Architecture] | None = None

    def sample(self) -> Architecture | None:
        """Return an unseen feasible architecture at random, canonical and marked as seen; None when none was found.

        Raises:
            RequestError: not one feasible architecture was ever found.
        """
        if not self._is_tight:
            found = self.first_unseen(lambda: self.space.sample(self.rng), NUM_DRAWS)
            if found is not None:
                return found
            self._is_tight = True
        if self._rest is None:
            self._rest = self._all_that_is_left()
        found = self.first_unseen_of(self._rest, NUM_DRAWS)
        if found is not None or self.listed is not None:
            return found
        found = self.first_unseen(self._walk_downhill, NUM_WALKS)
        if found is None and not self.seen:
            nearest = min(self.constraint.cost(self._walk_downhill(give_up=False)) for _ in range(NUM_WALKS))
            raise RequestError(f"no feasible architecture found; the lowest cost seen is {nearest:.4g}")
        return found

    def fill(self, num: int, propose: Callable[[int], Architecture | None]) -> list[Architecture]:
        """Up to `num` unseen feasible architectures; fewer once none can be found.

        Args:
            propose: told how many are found so far, gives the next one, marked as seen, or None for one at random.
        """
        found: list[Architecture] = []
        while len(found) < num:
            architecture = propose(len(found))
            if architecture is None and (architecture := self.sample()) is not None:
                self.reasons[architecture] = "random"
            if architecture is None:
                break
            found.append(architecture)
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
        """Return the first feasible, unseen proposal in canonical form, marked as seen; None after the attempts."""
        for _ in range(attempts):
            form = self.space.canonical(propose())
            if form not in self.seen and self.constraint.is_met(form):
                self.seen.add(form)
                return form
        return None

    def first_unseen_of(self, proposals: Iterator[Architecture], attempts: int) -> Architecture | None:
        """Return the same for proposals that may come to an end."""
        for _, proposal in zip(range(attempts), proposals, strict=False):
            form = self.space.canonical(proposal)
            if form not in self.seen and self.constraint.is_met(form):
                self.seen.add(form)
                return form
        return None

    @cached_property
    def listed(self) -> NDArray[np.int64] | None:
        """[num, num_decisions] every feasible network in canonical form; None where there are too many to look at.

        Raises:
            RequestError: there is none.
        """
        sizes = [len(d.choices) for d in self.space.decisions]
        if math.prod(sizes) > MOST_LISTED:
            return None
        every = np.indices(sizes).reshape(len(sizes), -1).T
        found = self.feasible(every)
        if not len(found):
            nearest = min(self.constraint.cost(tuple(row)) for row in every.tolist())
            raise RequestError(f"no feasible architecture found; the lowest cost seen is {nearest:.4g}")
        return found

    def feasible(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the different networks among them that keep the constraint, in canonical form."""
        is_vectorised = isinstance(self.constraint, HardLimits)
        if is_vectorised:
            rows = rows[self.constraint.worst_share(rows) <= 1.0]  # type: ignore[attr-defined]
        forms = dict.fromkeys(self.space.canonical(tuple(row)) for row in rows.tolist())
        found = np.array(list(forms), dtype=np.int64).reshape(-1, len(self.space.decisions))
        if is_vectorised:
            return found[self.constraint.worst_share(found) <= 1.0]  # type: ignore[attr-defined]
        return found[[self.constraint.is_met(form) for form in forms]] if len(found) else found

    def _all_that_is_left(self) -> Iterator[Architecture]:
        """Every feasible network at random, or without end where they are too many to list and can be counted."""
        if self.listed is not None:
            # Those proposed already need not be looked at again.
            unseen = [row for row in map(tuple, self.listed.tolist()) if row not in self.seen]
            yield from (unseen[i] for i in self.rng.permutation(len(unseen)))
        elif isinstance(self.space, SearchSpace) and isinstance(self.constraint, HardLimits):
            if self._counting_sampler is None:
                self._counting_sampler = CountingSampler(self.space, self.constraint, self.rng)
            while len(rows := self._counting_sampler.sample_many(BATCH, self.rng)):
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
