"""How products of matrices and attention are followed; each rule returns the atoms of what its node gives."""

from __future__ import annotations

import numpy as np

from search_spaces.traced.atoms import AtomArray, varying_axes
from search_spaces.traced.following import Following, fixed, lifted, tie_constant
from search_spaces.traced.graph import Argument, Node, Ref
from search_spaces.traced.rules.elements import _met


def matmul(following: Following, node: Node) -> AtomArray:
    """Follow a product of two values."""
    one, other = node.args[0], node.args[1]
    return _product(following, node, (one, following.array(one)), (other, following.array(other)))


def _product(
    following: Following, node: Node, one: tuple[Argument, AtomArray], other: tuple[Argument, AtomArray]
) -> AtomArray:
    """Return atoms of a product of matrices, [.., rows, inner] by [.., inner, columns]."""
    assert node.shape is not None
    ndim = len(node.shape)
    (x, a), (y, b) = one, other
    if following.is_constant(x) or a.ndim < 2 or b.ndim < 2:
        return following.fix(node, [a, b], "one of its factors is computed from no image")
    if following.is_constant(y):
        if b.ndim == 2 and varying_axes(a) in ([], [a.ndim - 1]):
            inner = following.along(a, -1, following.shape(x)[-1])
            following.atoms.tie(np.broadcast_to(b, following.shape(y)), inner[:, None])
            return fixed(ndim)
        return following.fix(node, [a], "one of its factors is computed from no image")
    a, b = lifted(a, ndim), lifted(b, ndim)
    batch = range(ndim - 2)
    if any(a.shape[axis] > 1 or b.shape[axis] > 1 for axis in batch):
        # What is multiplied within a matrix, such as a head's features, goes together.
        a, b = following.atoms.tie_along(a, -1), following.atoms.tie_along(b, -2)
        a = following.atoms.tie_along(a, -2)
        following.atoms.tie(a, b)
        return np.broadcast_to(b, np.broadcast_shapes(a.shape, b.shape))
    following.atoms.tie(a.swapaxes(-1, -2).take([0], -1), b.take([0], -1))
    if a.shape[-2] > 1 and b.shape[-1] > 1:
        return following.fix(node, [a, b], "rows and columns of a product would both vary")
    rows, columns = a.take([0], -1), b.take([0], -2)
    return rows if rows.shape[-2] > 1 else columns


def attention(following: Following, node: Node) -> AtomArray:
    """Follow the attention of queries to keys and values."""
    query, key, value = node.args[:3]
    swapped = following.array(key).swapaxes(-1, -2)
    scores = _product(following, node, (query, following.array(query)), (key, swapped))
    mask = node.args[3] if len(node.args) > 3 else None
    if isinstance(mask, Ref):
        scores = _masked(following, node, scores, mask)
    for axis in (-1, -2):
        if scores.shape[axis] > 1:
            scores = following.fix(node, [scores], "softmax is taken over it")
    values = following.array(value)
    if any(scores.shape[axis] > 1 for axis in range(scores.ndim - 2)):
        following.atoms.tie(scores, values)
        return np.broadcast_to(values, np.broadcast_shapes(scores.shape, values.shape))
    return values if values.shape[-2] == 1 else following.fix(node, [values], "it is attended to")


def _masked(following: Following, node: Node, scores: AtomArray, mask: Ref) -> AtomArray:
    """Return atoms of scores that a mask or biases are added to."""
    if following.is_constant(mask):
        tie_constant(following, scores, mask)
        return scores
    sizes = (*following.shape(node.args[0])[:-1], following.shape(node.args[1])[-2])
    met, _ = _met(following, node, (scores, sizes), mask)
    return met
