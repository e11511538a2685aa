"""Uniform feasible architectures however few there are, by counting instead of rejection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.constraint import HardLimits
from search_spaces import SearchSpace
from search_spaces.overview import common_choices, enumerable_parts

NUM_BINS = 4096
"""Steps into which what is left of a budget above the cheapest architecture is divided."""

NUM_CONTEXTS = 16
"""Architectures around which the costs of a part's variants are averaged."""

SLACKS = (0.03, 0.01, 0.0, -0.01, -0.03, -0.1)
"""Shares of the budget that the sum over parts may exceed it by, since neighbours change what parts cost; below zero
where the sums turn out to be too optimistic."""

PROBE = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class _Count:
    """Ways of keeping one budget.

    Attributes:
        bins: per part, the steps that each variant takes.
        ways: per part, how many combinations of it and all later parts take at most so many steps, [NUM_BINS + 1].
    """

    bins: list[NDArray[np.int64]]
    ways: list[NDArray[np.float64]]


class CountingSampler:
    """Draws uniformly from the architectures whose costs, as sums over independent parts, keep the limits.

    A dynamic program counts for every part how many continuations keep what is left of the budget; choosing each
    variant in proportion draws uniformly. What the sums miss (layout conversions, cache pressure) is checked
    afterwards: every architecture given keeps the limits exactly. Of several limits one sum is counted, the one that
    lets the fewest through in vain. Where decisions are common to all parts, that is done for each of their
    combinations, and each is drawn in proportion to what it was found to have.

    Args:
        rng: for the choice of contexts, once.
    """

    def __init__(self, space: SearchSpace, limits: HardLimits, rng: np.random.Generator) -> None:
        self._num_decisions = len(space.decisions)
        self._samplers = [_CountedOnce(space, limits, start, rng) for start in common_choices(space)]

    @property
    def num_feasible(self) -> float:
        """About how many architectures keep the limits."""
        return sum(sampler.num_feasible for sampler in self._samplers)

    def sample_many(self, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """[at most num, num_decisions] feasible architectures, independent draws; none where none is found."""
        if len(self._samplers) == 1:
            return self._samplers[0].sample_many(num, rng)
        feasible = np.array([sampler.num_feasible for sampler in self._samplers])
        if not feasible.any():
            return np.zeros((0, self._num_decisions), dtype=np.int64)
        shares = rng.multinomial(num, feasible / feasible.sum())
        found = [sampler.sample_many(int(n), rng) for sampler, n in zip(self._samplers, shares, strict=True) if n]
        return rng.permutation(np.concatenate(found))


class _CountedOnce:
    """Draws from the architectures of one combination of the decisions that are common to all parts.

    Args:
        start: an architecture that makes these.
    """

    def __init__(
        self, space: SearchSpace, limits: HardLimits, start: NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        self._space = space
        self._limits = limits
        self._start = start
        self._parts = [part for segment in space.segments for part in enumerable_parts(space, segment)]
        contexts = space.sample_many(NUM_CONTEXTS, rng)
        contexts[:, list(space.common_decisions)] = start[list(space.common_decisions)]
        self._count: _Count | None = None
        self.acceptance = 0.0
        """Share of what was counted that keeps the limits exactly."""
        for _ in range(2):  # the second time around architectures like those that are wanted
            self._choose_count(contexts, rng)
            found = self.sample_many(NUM_CONTEXTS, rng)
            if not len(found):
                break
            contexts = found

    @property
    def num_feasible(self) -> float:
        """About how many architectures keep the limits."""
        return 0.0 if self._count is None else float(self._count.ways[0][-1]) * self.acceptance

    def sample_many(self, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """[at most num, num_decisions] feasible architectures, independent draws; none where none is found."""
        if self._count is None or self.acceptance == 0.0:
            return np.zeros((0, len(self._space.decisions)), dtype=np.int64)
        rows = self._draw(self._count, int(num / self.acceptance * 1.2) + 8, rng)
        return rows[self._limits.worst_share(rows) <= 1.0][:num]

    def _choose_count(self, contexts: NDArray[np.int64], rng: np.random.Generator) -> None:
        constants, tables = self._part_tables(contexts)
        num_limits = len(constants)
        weightings = [*np.eye(num_limits), *([np.ones(num_limits) / num_limits] if num_limits > 1 else [])]
        best = (self.acceptance, self._count)
        for weights in weightings:
            for slack in SLACKS:
                count = _counted([table @ weights for table in tables], 1.0 + slack - float(constants @ weights))
                if count is None:
                    continue
                rows = self._draw(count, PROBE, rng)
                acceptance = float((self._limits.worst_share(rows) <= 1.0).mean())
                if acceptance > best[0]:
                    best = (acceptance, count)
                if acceptance > 0.3:  # a wider count loses fewer at the rim
                    break
        self.acceptance, self._count = best

    def _part_tables(self, contexts: NDArray[np.int64]) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        """Return what contexts cost, [num_limits], and each part's variants add, [num_variants, num_limits] a part."""
        at_contexts = self._limits.shares(contexts).mean(axis=0)
        tables = []
        for columns, choices in self._parts:
            num_contexts = max(2, min(len(contexts), 200_000 // len(choices)))
            chosen = contexts[:num_contexts]
            rows = np.repeat(chosen, len(choices), axis=0)
            rows[:, columns] = np.tile(choices, (len(chosen), 1))
            shares = self._limits.shares(rows).reshape(len(chosen), len(choices), -1)
            tables.append(shares.mean(axis=0) - self._limits.shares(chosen).mean(axis=0))
        return at_contexts, tables

    def _draw(self, count: _Count, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        rows = np.repeat(self._start[None], num, axis=0)
        left = np.full(num, NUM_BINS)
        for position, (columns, choices) in enumerate(self._parts):
            after = count.ways[position + 1]
            steps = count.bins[position]
            for start in range(0, num, chunk := max(1, 4_000_000 // len(choices))):
                rest = left[start : start + chunk, None] - steps[None, :]
                weights = np.where(rest >= 0, after[np.maximum(rest, 0)], 0.0).cumsum(axis=1)
                drawn = (weights > rng.random(len(weights))[:, None] * weights[:, -1:]).argmax(axis=1)
                rows[start : start + chunk, columns] = choices[drawn]
                left[start : start + chunk] -= steps[drawn]
        return rows


def _counted(tables: list[NDArray[np.float64]], budget: float) -> _Count | None:
    """Combinations of one value per part whose sum is within the budget; None where there are none."""
    slack = budget - sum(float(table.min()) for table in tables)
    if slack < 0:
        return None
    step = max(slack, 1e-12) / NUM_BINS
    bins = [np.minimum(((table - table.min()) / step), NUM_BINS + 1).astype(np.int64) for table in tables]
    exactly = np.zeros(NUM_BINS + 1)
    exactly[0] = 1.0
    ways = [exactly.cumsum()]
    for steps in reversed(bins):
        total = np.zeros(NUM_BINS + 1)
        for taken, times in zip(*np.unique(steps[steps <= NUM_BINS], return_counts=True), strict=True):
            total[taken:] += times * exactly[: NUM_BINS + 1 - taken]
        exactly = total
        ways.append(exactly.cumsum())
    ways.reverse()
    return _Count(bins=bins, ways=ways)
