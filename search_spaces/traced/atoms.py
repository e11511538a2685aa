"""Which indices of a network's tensors stay or go together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FIXED = 0
"""The atom of everything that always stays."""

AtomArray = NDArray[np.int64]
"""Atoms of a tensor's elements: an axis for each of the tensor's, of its size, or 1 where they are alike along it."""


class Atoms:
    """Sets of indices that are kept or left out together, merged as a graph is followed (union-find, vectorised)."""

    def __init__(self) -> None:
        self._parent = np.zeros(1, dtype=np.int64)
        self._source = np.full(1, -1, dtype=np.int64)
        self._num_sources = 0
        self.layer_sources: set[int] = set()
        """Sources that are outputs of layers, where leaving out begins."""

    def fresh(self, shape: Sequence[int], *, is_layer: bool = False) -> AtomArray:
        """Return new atoms, all of one source."""
        num = int(np.prod(shape, dtype=np.int64))
        start = len(self._parent)
        self._parent = np.concatenate([self._parent, np.arange(start, start + num)])
        self._source = np.concatenate([self._source, np.full(num, self._num_sources)])
        if is_layer:
            self.layer_sources.add(self._num_sources)
        self._num_sources += 1
        return np.arange(start, start + num, dtype=np.int64).reshape(tuple(shape))

    def find(self, atoms: AtomArray) -> AtomArray:
        """Return the atom that stands for the set of each."""
        found = self._parent[atoms]
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                return found
            found = above

    def tie(self, one: AtomArray, other: AtomArray | int) -> None:
        """Merge the sets of atoms that stand in the same places of two arrays, broadcast against each other."""
        first, second = (part.ravel() for part in np.broadcast_arrays(one, np.asarray(other)))
        while True:
            roots = self.find(first), self.find(second)
            low, high = np.minimum(*roots), np.maximum(*roots)
            differ = low != high
            if not differ.any():
                return
            first, second = first[differ], second[differ]
            np.minimum.at(self._parent, high[differ], low[differ])

    def tie_along(self, atoms: AtomArray, axis: int) -> AtomArray:
        """Merge all sets along an axis; return the array with size 1 there."""
        if atoms.shape[axis] > 1:
            self.tie(atoms.take([0], axis), atoms)
        return atoms.take([0], axis)

    def compress(self, atoms: AtomArray) -> AtomArray:
        """Return the array with size 1 along the axes that its sets do not differ along."""
        sets = self.find(atoms)
        for axis in range(sets.ndim):
            if sets.shape[axis] > 1 and (sets == sets.take([0], axis)).all():
                sets = sets.take([0], axis)
        return sets

    def sources_of_sets(self) -> dict[int, frozenset[int]]:
        """Return the sources of each set's atoms, by the atom that stands for the set."""
        roots = self.find(np.arange(len(self._parent)))
        pairs = np.unique(np.stack([roots, self._source]), axis=1)
        found: dict[int, set[int]] = {}
        for root, source in pairs.T.tolist():
            found.setdefault(root, set()).add(source)
        return {root: frozenset(sources) for root, sources in found.items()}


def varying_axes(atoms: AtomArray) -> list[int]:
    """Return the axes that an array has more than one entry along."""
    return [axis for axis, size in enumerate(atoms.shape) if size > 1]
