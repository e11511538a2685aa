"""Which channels of a trained network matter most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from search_spaces.traced.groups import Group, SlicedGraph


def ranked_units(sliced: SlicedGraph, values: Mapping[str, torch.Tensor]) -> tuple[tuple[int, ...], ...]:
    """Return the units of every group, those that matter most first.

    A unit matters by the squares of all weights that go with it (Li et al. 2017, by norms of filters); each layer
    counts alike (Fang et al. 2023, DepGraph).

    Args:
        values: the network's tensors by name.
    """
    scores = np.zeros(sliced.num_units)
    counts = np.zeros(sliced.num_units)
    for name, axes in sliced.tensors.items():
        if not sliced.graph.tensor[name].is_trained:
            continue
        weight = values[name].detach().double()
        for axis, units in enumerate(axes):
            if units is None:
                continue
            others = [a for a in range(weight.ndim) if a != axis]
            squares = (weight**2).sum(dim=others).numpy() if others else (weight**2).numpy()
            own = np.bincount(units, weights=squares, minlength=sliced.num_units)
            present = np.bincount(units, minlength=sliced.num_units) > 0
            scores[present] += own[present] / max(float(own[present].mean()), 1e-30)
            counts += present
    mean = scores / np.maximum(counts, 1)
    required = _required(sliced)
    return tuple(_ranked(group, required[position], mean) for position, group in enumerate(sliced.groups))


def _ranked(group: Group, required: Sequence[frozenset[int]], scores: NDArray[np.float64]) -> tuple[int, ...]:
    """Return a group's units by score, but those first without which a part of an axis would have nothing left."""
    by_score = sorted(group.units, key=lambda unit: -scores[unit])
    first: list[int] = []
    for own in required:
        if not own & set(first):
            first.append(next(unit for unit in by_score if unit in own))
    return (*first, *(unit for unit in by_score if unit not in first))


def num_required(sliced: SlicedGraph) -> list[int]:
    """Return how many units of each group are kept at least, so that no part of an axis has nothing left."""
    return [max(1, len(sets)) for sets in _required(sliced)]


def _required(sliced: SlicedGraph) -> list[list[frozenset[int]]]:
    """Return for each group the sets of its units that something has to be left of: those that fill an axis alone."""
    axes = {frozenset(np.unique(u).tolist()) for of_one in sliced.tensors.values() for u in of_one if u is not None}
    axes |= {frozenset(np.unique(units).tolist()) for _, units in sliced.values.values()}
    found: list[list[frozenset[int]]] = [[] for _ in sliced.groups]
    for units in sorted(axes, key=sorted):
        groups = set(sliced.group_of_unit[list(units)].tolist())
        if len(groups) == 1 and (position := groups.pop()) >= 0 and len(units) < len(sliced.groups[position].units):
            found[position].append(units)
    return found
