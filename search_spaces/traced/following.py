"""What is known while a graph is followed: atoms of values, axes of tensors, reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from search_spaces.traced.atoms import FIXED, AtomArray, Atoms, varying_axes
from search_spaces.traced.graph import Argument, Graph, Node, Ref, example


@dataclass(kw_only=True)
class Following:
    """Ties found while a graph is followed.

    Attributes:
        arrays: atoms of every value, by name.
        axes: of every sliced tensor, atoms along each axis; None along axes that stay whole.
        reasons: why the input or output of a node stays as it is, by the node's name.
    """

    graph: Graph
    atoms: Atoms = field(default_factory=Atoms)
    arrays: dict[str, AtomArray] = field(default_factory=dict)
    axes: dict[str, list[AtomArray | None]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    constant: set[str] = field(default_factory=set)

    def array(self, argument: Argument) -> AtomArray:
        """Return the atoms of a value; a tensor of the network has one for each element until it meets others."""
        assert isinstance(argument, Ref)
        if argument.name not in self.arrays:
            self.arrays[argument.name] = self.atoms.fresh(self.graph.tensor[argument.name].shape)
            self.constant.add(argument.name)
        return self.arrays[argument.name]

    def is_constant(self, argument: Argument) -> bool:
        """Return whether a value does not depend on the images."""
        assert isinstance(argument, Ref)
        self.array(argument)
        return argument.name in self.constant

    def shape(self, argument: Argument) -> tuple[int, ...]:
        """Return the shape of a value in numbers."""
        assert isinstance(argument, Ref)
        return example(self.graph.shape_of(argument.name))

    def fix(self, node: Node, arrays: Sequence[AtomArray], reason: str) -> AtomArray:
        """Have everything in the arrays stay; return atoms for the node's output, which stays too."""
        for array in arrays:
            varies = bool((self.atoms.find(array) != FIXED).any())
            self.atoms.tie(array, FIXED)
            if varies:
                self.reasons.setdefault(node.name, reason)
        return fixed(len(node.shape or ()))

    def along(self, array: AtomArray, axis: int, size: int) -> AtomArray:
        """Return atoms along one axis, [size], those along the other axes merged."""
        for other in range(array.ndim):
            if other != axis % array.ndim:
                array = self.atoms.tie_along(array, other)
        return np.broadcast_to(array.ravel(), size).copy()

    def slice_tensor(self, argument: Argument, *axes: AtomArray | None) -> None:
        """Have a tensor keep along each axis what the atoms keep."""
        if argument is None:
            return
        assert isinstance(argument, Ref)
        known = self.axes.get(argument.name)
        if known is None:
            self.axes[argument.name] = list(axes)
            return
        for position, (one, other) in enumerate(zip(known, axes, strict=True)):  # a layer that is used twice
            if one is None or other is None:
                for given in (one, other):
                    if given is not None:
                        self.atoms.tie(given, FIXED)
                known[position] = None
            else:
                self.atoms.tie(one, other)


def fixed(ndim: int) -> AtomArray:
    """Return the atoms of a value that stays as it is."""
    return np.full((1,) * ndim, FIXED, dtype=np.int64)


def on_axis(atoms: AtomArray, axis: int, ndim: int) -> AtomArray:
    """Return atoms along one axis as an array of so many axes."""
    shape = [1] * ndim
    shape[axis % ndim] = len(atoms)
    return atoms.reshape(shape)


def lifted(array: AtomArray, ndim: int) -> AtomArray:
    return array.reshape((1,) * (ndim - array.ndim) + array.shape)


def lifted_shape(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return (1,) * (ndim - len(shape)) + shape


def tie_constant(following: Following, total: AtomArray, ref: Ref) -> None:
    """Tie a constant to what it meets; where one of its entries is for many that come and go, it stays."""
    array, shape = following.array(ref), following.shape(ref)
    own = lifted(np.broadcast_to(array, shape), total.ndim)
    is_of_each = all(own.shape[axis] == total.shape[axis] for axis in varying_axes(total))
    following.atoms.tie(own, total if is_of_each else FIXED)
