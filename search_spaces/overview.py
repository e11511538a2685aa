"""A search space at a glance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture
from search_spaces.cost import GraphCosts
from search_spaces.space import SearchSpace, Segment


class SpaceOverview(TypedDict):
    """The size of a space, and of its smallest and largest networks."""

    name: str
    num_decisions: int
    num_architectures: int
    num_blocks: int
    min_macs: int
    max_macs: int
    min_params: int
    max_params: int


def describe_space(space: SearchSpace) -> SpaceOverview:
    """Number of architectures and blocks, smallest and largest multiply-accumulates and parameters.

    The extremes are those of `extreme_architecture`.
    """
    costs = GraphCosts(space)

    def least_and_most(cost: Callable[[NDArray[np.integer]], NDArray[np.float64]]) -> list[int]:
        extremes = [extreme_architecture(space, cost, largest=largest) for largest in (False, True)]
        return [int(value) for value in cost(np.array(extremes))]

    min_macs, max_macs = least_and_most(costs.macs)
    min_params, max_params = least_and_most(costs.params)
    return SpaceOverview(
        name=space.spec.name,
        num_decisions=len(space.decisions),
        num_architectures=space.num_architectures,
        num_blocks=len({b.key for b in space.candidates if not b.is_identity}),
        min_macs=min_macs,
        max_macs=max_macs,
        min_params=min_params,
        max_params=max_params,
    )


def extreme_architecture(
    space: SearchSpace, cost: Callable[[NDArray[np.integer]], NDArray[np.float64]], *, largest: bool
) -> Architecture:
    """Return the architecture of the largest or smallest cost, found segment by segment until none changes.

    Exact for costs that are sums over the blocks, as far as segments have no more than `MOST_VARIANTS` variants. Where
    decisions are common to all, that is done for each combination of their choices.
    """
    sign = -1.0 if largest else 1.0
    parts = [part for segment in space.segments for part in enumerable_parts(space, segment)]
    found = [_least(start, parts, lambda rows: sign * cost(rows)) for start in common_choices(space)]
    best = found[int(np.argmin(sign * cost(np.array(found))))]
    return tuple(int(c) for c in best)


def _least(
    start: NDArray[np.int64],
    parts: list[tuple[list[int], NDArray[np.int64]]],
    cost: Callable[[NDArray[np.integer]], NDArray[np.float64]],
) -> NDArray[np.int64]:
    """Return the architecture of the least cost, found from one by changing part after part until none changes."""
    best = start
    while True:
        before = best.copy()
        for columns, choices in parts:
            rows = np.repeat(best[None], len(choices), axis=0)
            rows[:, columns] = choices
            best = rows[int(np.argmin(cost(rows)))]
        if (best == before).all():
            return best


def common_choices(space: SearchSpace) -> NDArray[np.int64]:
    """Return an architecture for each combination of the decisions that are common to all, with all others 0."""
    choices = np.array(list(product(*(range(len(space.decisions[i].choices)) for i in space.common_decisions))))
    rows = np.zeros((len(choices), len(space.decisions)), dtype=np.int64)
    rows[:, list(space.common_decisions)] = choices
    return rows


MOST_VARIANTS = 20_000


def enumerable_parts(space: SearchSpace, segment: Segment) -> list[tuple[list[int], NDArray[np.int64]]]:
    """Return a segment's decisions with all their combinations, or one by one where there are too many of them."""
    sizes = [len(space.decisions[i].choices) for i in segment.decisions]
    if math.prod(sizes) <= MOST_VARIANTS:
        return [(list(segment.decisions), np.indices(sizes).reshape(len(sizes), -1).T)]
    return [([i], np.arange(size)[:, None]) for i, size in zip(segment.decisions, sizes, strict=True)]


def variants(space: SearchSpace) -> Iterator[NDArray[np.int64]]:
    """Yield architectures in which segment after segment takes all its choices, the others their first one.

    Decisions that are common to all take all their choices with those of each segment.
    """
    for first in common_choices(space):
        yield first[None]
        for segment in space.segments:
            for columns, choices in enumerable_parts(space, segment):
                rows = np.repeat(first[None], len(choices), axis=0)
                rows[:, columns] = choices
                yield rows
