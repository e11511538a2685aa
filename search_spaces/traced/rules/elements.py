"""How operators on elements, maps and sums are followed; each rule returns the atoms of what its node gives."""

from __future__ import annotations

import numpy as np

from search_spaces.traced.atoms import AtomArray, varying_axes
from search_spaces.traced.following import Following, fixed, lifted, lifted_shape, on_axis, tie_constant
from search_spaces.traced.graph import Node, Ref


def same(following: Following, node: Node) -> AtomArray:
    """Follow an operator that gives an element for each element."""
    return following.array(node.args[0])


def elementwise(following: Following, node: Node) -> AtomArray:
    """Follow an operator on elements in the same places of several tensors."""
    assert node.shape is not None
    refs = [Ref(name) for name in node.inputs]
    ndim = len(node.shape)
    computed = [r for r in refs if not following.is_constant(r)] or refs
    total = lifted(following.array(computed[0]), ndim)
    sizes = lifted_shape(following.shape(computed[0]), ndim)
    for ref in computed[1:]:
        total, sizes = _met(following, node, (total, sizes), ref)
    for ref in refs:
        if ref not in computed:
            tie_constant(following, total, ref)
    return total


def _met(
    following: Following, node: Node, one: tuple[AtomArray, tuple[int, ...]], ref: Ref
) -> tuple[AtomArray, tuple[int, ...]]:
    """Return atoms and shape of two values broadcast against each other."""
    total, sizes = one
    ndim = len(sizes)
    other, other_sizes = lifted(following.array(ref), ndim), lifted_shape(following.shape(ref), ndim)
    for axis in range(ndim):
        # One entry for many that come and go: it has to stay.
        if sizes[axis] == 1 < other_sizes[axis] and other.shape[axis] > 1:
            following.fix(node, [total], "one of its channels is for many")
            return other, tuple(map(max, sizes, other_sizes))
        if other_sizes[axis] == 1 < sizes[axis] and total.shape[axis] > 1:
            following.fix(node, [other], "one of its channels is for many")
            return total, tuple(map(max, sizes, other_sizes))
    following.atoms.tie(total, other)
    shape = np.broadcast_shapes(total.shape, other.shape)
    return np.broadcast_to(total, shape), tuple(map(max, sizes, other_sizes))


def pool(following: Following, node: Node) -> AtomArray:
    """Follow an operator on each channel's map alone."""
    x = node.args[0]
    shape = following.shape(x)
    if node.kind.endswith("1d") and len(shape) == 2:
        return following.fix(node, [following.array(x)], "it pools over channels")
    return on_axis(following.along(following.array(x), 1, shape[1]), 1, len(shape))


def reduction(following: Following, node: Node) -> AtomArray:
    """Follow a mean or the like."""
    position = 2 if node.kind == "linalg_vector_norm" else 1  # after the order of the norm
    x, axes = node.args[0], node.args[position] if len(node.args) > position else None
    assert node.shape is not None
    array, ndim = following.array(x), len(following.shape(x))
    if isinstance(axes, int):
        axes = (axes,)
    if not isinstance(axes, tuple) or node.kind in ("max", "min", "norm", "var", "std"):
        return following.fix(node, [array], f"{node.kind} is taken over all it is given")
    reduced = {axis % ndim for axis in axes if isinstance(axis, int)}
    if any(axis in reduced for axis in varying_axes(array)):
        kept = [axis for axis in varying_axes(array) if axis not in reduced]
        if kept:  # heads of several features: their features go together
            for axis in reduced:
                array = following.atoms.tie_along(array, axis)
        else:
            return fixed(len(node.shape))  # a mean over those that are kept
    if len(node.shape) == ndim:
        return array
    return array.reshape([size for axis, size in enumerate(array.shape) if axis not in reduced])


def softmax(following: Following, node: Node) -> AtomArray:
    """Follow a softmax."""
    x, axis = node.args[0], node.args[1]
    assert isinstance(axis, int)
    array = following.array(x)
    if array.shape[axis] > 1:
        return following.fix(node, [array], f"{node.kind} is taken over it")
    return array


def constant(_following: Following, node: Node) -> AtomArray:
    """Follow what is the same whatever the images."""
    return fixed(len(node.shape or ()))
