"""How operators that move elements are followed; each rule returns the atoms of what its node gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search_spaces.traced.atoms import FIXED, AtomArray, varying_axes
from search_spaces.traced.following import Following, fixed, lifted, on_axis, tie_constant
from search_spaces.traced.graph import Node, Ref, example


def move(following: Following, node: Node) -> AtomArray:
    """Put atoms where the operator puts elements."""
    assert node.shape is not None
    array = following.array(node.args[0])
    if not varying_axes(array):
        return array.reshape((1,) * len(node.shape))
    if node.kind == "permute":
        order = node.args[1]
        assert isinstance(order, tuple)
        return array.transpose([int(axis) for axis in order])  # type: ignore[arg-type]
    if node.kind == "expand":
        return lifted(array, len(node.shape))
    full = np.broadcast_to(array, following.shape(node.args[0]))
    return following.atoms.compress(full.reshape(example(node.shape)))


def select(following: Following, node: Node) -> AtomArray:
    """Follow the choice of one place along an axis."""
    x, axis, index = node.args[:3]
    assert isinstance(axis, int) and isinstance(index, int)
    array = following.array(x)
    if varying_axes(array) == [axis % array.ndim]:
        following.fix(node, [array], "single channels are selected")
    chosen = array.take([0 if array.shape[axis] == 1 else index], axis)
    return chosen.reshape([size for i, size in enumerate(chosen.shape) if i != axis % array.ndim])


def slice_(following: Following, node: Node) -> AtomArray:
    """Follow the choice of a range of places along an axis."""
    x, axis, start, end = (*node.args, 0, None)[:4] if len(node.args) < 4 else node.args[:4]
    step = node.args[4] if len(node.args) > 4 else 1
    assert isinstance(axis, int)
    array = following.array(x)
    if array.shape[axis] == 1:
        return array
    if step != 1:
        return following.fix(node, [array], "every so many-th channel is taken")
    places = [slice(None)] * array.ndim
    places[axis] = slice(start, end)
    return array[tuple(places)]


def repeat(following: Following, node: Node) -> AtomArray:
    """Follow repeats of all there is."""
    x, times = node.args[0], node.args[1]
    assert isinstance(times, tuple)
    array = lifted(following.array(x), len(times))
    sizes = [n if isinstance(n, int) and array.shape[axis] > 1 else 1 for axis, n in enumerate(times)]
    return np.tile(array, sizes)


def scatter(following: Following, node: Node) -> AtomArray:
    """Return atoms of a tensor that another is put into along an axis."""
    x, source, axis = node.args[:3]
    assert isinstance(axis, int)
    array, other = following.array(x), following.array(source)
    axis %= array.ndim
    if node.kind == "select_scatter":
        other = np.expand_dims(other, axis)
    if array.shape[axis] > 1 or other.shape[axis] > 1:
        return following.fix(node, [array, other], "some of its channels are replaced")
    following.atoms.tie(array, other)
    return np.broadcast_to(array, np.broadcast_shapes(array.shape, other.shape))


def cat(following: Following, node: Node) -> AtomArray:
    """Follow values that are joined along an axis."""
    parts, axis = node.args[0], node.args[1] if len(node.args) > 1 else 0
    assert isinstance(parts, tuple) and isinstance(axis, int) and node.shape is not None
    axis %= len(node.shape)
    refs = [part for part in parts if isinstance(part, Ref)]
    computed = [r for r in refs if not following.is_constant(r)]
    if not computed:
        return following.fix(node, [following.array(r) for r in refs], "it is computed from no image")
    arrays = {r: following.array(r) for r in computed}
    along = any(array.shape[axis] > 1 for array in arrays.values()) or _differ(following, list(arrays.values()))
    others = [i for i in range(len(node.shape)) if i != axis and any(a.shape[i] > 1 for a in arrays.values())]
    if others:  # what stays of the parts must be the same across
        total = next(a for a in arrays.values() if any(a.shape[i] > 1 for i in others))
        for array in arrays.values():
            following.atoms.tie(following.atoms.tie_along(array, axis), following.atoms.tie_along(total, axis))
        for ref in refs:
            if ref not in arrays:
                tie_constant(following, following.atoms.tie_along(total, axis), ref)
        return following.atoms.tie_along(total, axis)
    if not along:
        for ref in refs:
            if ref not in arrays:
                tie_constant(following, arrays[computed[0]], ref)
        return arrays[computed[0]]
    whole = []
    for ref in refs:
        size = following.shape(ref)[axis]
        if ref not in arrays:
            following.atoms.tie(following.array(ref), FIXED)
        array = arrays.get(ref, fixed(len(node.shape)))
        shape = [1] * len(node.shape)
        shape[axis] = size
        whole.append(np.broadcast_to(array, shape))
    return np.concatenate(whole, axis=axis)


def _differ(following: Following, arrays: Sequence[AtomArray]) -> bool:
    """Return whether arrays without variation are of several sets."""
    first = {int(following.atoms.find(a.ravel()[:1])[0]) for a in arrays}
    return len(first) > 1


def split(following: Following, node: Node) -> AtomArray:
    """Follow a value that is split; `getitem` gives its parts."""
    return following.array(node.args[0])


def getitem(following: Following, node: Node) -> AtomArray:
    """Return a part of what is split."""
    source, index = node.args
    assert isinstance(source, Ref) and isinstance(index, int) and node.shape is not None
    split = following.graph.by_name[source.name]
    array = following.array(source)
    if split.kind != "split_with_sizes":
        return following.fix(node, [array], f"the operator {split.kind} is not followed")
    sizes, axis = split.args[1], split.args[2] if len(split.args) > 2 else 0
    assert isinstance(sizes, tuple) and isinstance(axis, int)
    if array.shape[axis] == 1:
        return array
    widths = [size for size in sizes if isinstance(size, int)]
    start = sum(widths[:index])
    return array.take(range(start, start + widths[index]), axis)


def pad(following: Following, node: Node) -> AtomArray:
    """Return atoms with new ones where channels are padded."""
    x, amounts = node.args[0], node.args[1]
    assert isinstance(amounts, tuple) and node.shape is not None
    array, shape = following.array(x), following.shape(x)
    for position in range(len(amounts) // 2):
        axis = len(shape) - 1 - position
        before, after = int(amounts[2 * position]), int(amounts[2 * position + 1])  # type: ignore[arg-type]
        if (before, after) == (0, 0) or (array.shape[axis] == 1 and shape[axis] > 1):
            continue  # all atoms along the axis are the same
        if before < 0 or after < 0 or (varying_axes(array) != [axis] and varying_axes(array)):
            return following.fix(node, [array], "its channels are padded in a way that is not followed")
        if not varying_axes(array) and bool((following.atoms.find(array) == FIXED).all()) and axis != 1:
            continue
        new = on_axis(following.atoms.fresh([before + after]), axis, len(shape))
        first, last = np.split(new, [before], axis=axis)
        array = np.concatenate([first, array, last], axis=axis)
    return array


def pixel_shuffle(following: Following, node: Node) -> AtomArray:
    x, factor = node.args[0], node.args[1]
    assert isinstance(factor, int)
    shape = following.shape(x)
    channels = following.along(following.array(x), 1, shape[1])
    rows = following.atoms.tie_along(channels.reshape(-1, factor**2), 1)
    return on_axis(rows.ravel(), 1, len(shape))


def index(following: Following, node: Node) -> AtomArray:
    """Return the atoms of looked-up elements, where a table is looked up by constants."""
    x, indices = node.args[0], node.args[1]
    assert isinstance(indices, tuple) and node.shape is not None
    array = following.array(x)
    taken = [axis for axis, index in enumerate(indices) if index is not None]
    later = [axis for axis in varying_axes(array) if axis >= len(taken)]
    if taken != list(range(len(taken))) or (varying_axes(array) != later and not following.is_constant(x)):
        return following.fix(node, [array], "single channels are looked up")
    rows = array
    for axis in taken:  # every row of a table may be taken, so all of them keep the same
        rows = following.atoms.tie_along(rows, axis)
    kept = rows.reshape(rows.shape[len(taken) :])
    return lifted(kept, len(node.shape))


def roll(following: Following, node: Node) -> AtomArray:
    """Follow places that are moved along axes."""
    x, axes = node.args[0], node.args[-1]
    array = following.array(x)
    moved = {axis % array.ndim for axis in axes if isinstance(axis, int)} if isinstance(axes, tuple) else set()
    if not moved or any(axis in moved for axis in varying_axes(array)):
        return following.fix(node, [array], f"channels are moved by {node.kind}")
    return array
