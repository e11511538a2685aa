"""Following a graph: which channels, features and heads are tied to which, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from search_spaces.traced.atoms import FIXED, AtomArray, Atoms, varying_axes
from search_spaces.traced.graph import Argument, Graph, Node, Ref, example, operators

SAME_SHAPE = operators(
    "relu relu6 hardtanh clamp clamp_min clamp_max sigmoid tanh gelu silu hardswish hardsigmoid leaky_relu elu selu "
    "celu softplus softsign mish erf exp exp2 expm1 log log2 log10 log1p sqrt rsqrt abs neg reciprocal square sin "
    "cos tan floor ceil round sign logsigmoid hardshrink softshrink threshold dropout feature_dropout alpha_dropout "
    "to _to_copy type_as nan_to_num rrelu"
)
"""Operators that give an element for each element, from that alone."""

ELEMENTWISE = operators(
    "add sub rsub mul div maximum minimum pow where fmod remainder atan2 lerp eq ne lt le gt ge logical_and logical_or "
    "masked_fill"
)
"""Operators on elements in the same places of tensors broadcast against each other."""

POOLS = operators(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d upsample_nearest1d upsample_nearest2d "
    "upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_nearest_exact2d upsample_linear1d "
    "reflection_pad2d replication_pad2d"
)
"""Operators on each channel's map alone, axis 1 being the channels."""

MOVES = operators("reshape permute expand")
"""Operators that put elements elsewhere, each a function of places alone."""

REDUCTIONS = operators("mean sum amax amin max min norm linalg_vector_norm logsumexp var std")

CONSTANTS = operators("zeros ones full arange scalar_tensor new_zeros new_ones new_full linspace eye")
"""Operators that give the same whatever the images."""


@dataclass(kw_only=True)
class Following:
    """What following a graph gave.

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


def follow(graph: Graph) -> Following:
    """Return which indices of all values and tensors stay or go together; what cannot be followed stays."""
    following = Following(graph=graph)
    for name, shape in graph.inputs:
        following.arrays[name] = fixed(len(shape))
    for node in graph.nodes:
        following.arrays[node.name] = _followed(following, node)
    following.fix(graph.by_name[graph.output], [following.arrays[graph.output]], "it is the network's output")
    _tie_tensors_of_elements(following)
    _separate_axes(following)
    return following


def _followed(following: Following, node: Node) -> AtomArray:
    inputs = [Ref(name) for name in node.inputs]
    if node.kind in CONSTANTS or (inputs and all(following.is_constant(ref) for ref in inputs)):
        following.constant.add(node.name)
    rule = RULES.get(node.kind)
    if rule is None or (node.shape is None and node.kind not in SEVERAL):
        arrays = [following.array(ref) for ref in inputs if not following.is_constant(ref)]
        return following.fix(node, arrays, f"the operator {node.kind} is not followed")
    return rule(following, node)


def _separate_axes(following: Following) -> None:
    """Merge sets until no value's atoms vary along two axes: what is kept of it is then a slice.

    Where they do, as when channels are shuffled in groups, the earlier axis stays whole.
    """
    while True:
        is_settled = True
        for name, array in following.arrays.items():
            array = following.arrays[name] = following.atoms.compress(array)
            axes = varying_axes(array)
            while len(axes) > 1:
                is_settled = False
                array = following.arrays[name] = following.atoms.compress(following.atoms.tie_along(array, axes[0]))
                axes = varying_axes(array)
        if is_settled:
            return


def _tie_tensors_of_elements(following: Following) -> None:
    """Write down the axes of tensors that operators on elements take: those along which their atoms differ."""
    for name, tensor in following.graph.tensor.items():
        if name in following.arrays and name not in following.axes:
            array = following.arrays[name] = following.atoms.compress(following.arrays[name])
            axes: list[AtomArray | None] = [None] * len(tensor.shape)
            for axis in varying_axes(array):
                axes[axis] = following.along(array, axis, tensor.shape[axis])
            following.axes[name] = axes


# Rules: each returns the atoms of the node's output.


def _same(following: Following, node: Node) -> AtomArray:
    return following.array(node.args[0])


def _elementwise(following: Following, node: Node) -> AtomArray:
    assert node.shape is not None
    refs = [Ref(name) for name in node.inputs]
    ndim = len(node.shape)
    computed = [r for r in refs if not following.is_constant(r)] or refs
    total = _lifted(following.array(computed[0]), ndim)
    sizes = _lifted_shape(following.shape(computed[0]), ndim)
    for ref in computed[1:]:
        total, sizes = _met(following, node, (total, sizes), ref)
    for ref in refs:
        if ref not in computed:
            _tie_constant(following, total, ref)
    return total


def _met(
    following: Following, node: Node, one: tuple[AtomArray, tuple[int, ...]], ref: Ref
) -> tuple[AtomArray, tuple[int, ...]]:
    """Return atoms and shape of two values broadcast against each other."""
    total, sizes = one
    ndim = len(sizes)
    other, other_sizes = _lifted(following.array(ref), ndim), _lifted_shape(following.shape(ref), ndim)
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


def _tie_constant(following: Following, total: AtomArray, ref: Ref) -> None:
    """Tie a constant to what it meets, along the axes that both have entries of their own for."""
    array, shape = following.array(ref), following.shape(ref)
    own = _lifted(np.broadcast_to(array, shape), total.ndim)
    axes = varying_axes(total)
    if axes and all(own.shape[axis] == total.shape[axis] for axis in axes):
        following.atoms.tie(own, total)


def _lifted(array: AtomArray, ndim: int) -> AtomArray:
    return array.reshape((1,) * (ndim - array.ndim) + array.shape)


def _lifted_shape(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return (1,) * (ndim - len(shape)) + shape


def _conv(following: Following, node: Node) -> AtomArray:
    assert node.shape is not None
    x, weight, bias = node.args[0], node.args[1], node.args[2] if len(node.args) > 2 else None
    groups = node.args[6] if len(node.args) > 6 else 1
    assert isinstance(groups, int)
    ndim = len(node.shape)
    if not _holds(following, weight, bias):
        return following.fix(node, [following.array(x)], "its weights are computed")
    channels = following.along(following.array(x), 1, following.shape(x)[1])
    spatial = [None] * (ndim - 2)
    num_out = example(node.shape)[1]
    if groups == 1:
        out = following.atoms.fresh([num_out], is_layer=True)
        following.slice_tensor(weight, out, channels, *spatial)
    else:
        out = _grouped(following, channels, groups, num_out)
        following.slice_tensor(weight, out, None, *spatial)
    following.slice_tensor(bias, out)
    return on_axis(out, 1, ndim)


def _grouped(following: Following, channels: AtomArray, groups: int, num_out: int) -> AtomArray:
    """Return atoms of the output of a layer in groups: whole groups stay or go, with all they take."""
    rows = following.atoms.tie_along(channels.reshape(groups, -1), 1)
    return np.repeat(rows.ravel(), num_out // groups)


def _conv_transpose(following: Following, node: Node) -> AtomArray:
    assert node.shape is not None
    x, weight, bias = node.args[0], node.args[1], node.args[2] if len(node.args) > 2 else None
    groups = node.args[6] if len(node.args) > 6 else 1
    assert isinstance(groups, int)
    ndim = len(node.shape)
    if not _holds(following, weight, bias):
        return following.fix(node, [following.array(x)], "its weights are computed")
    channels = following.along(following.array(x), 1, following.shape(x)[1])
    num_out = example(node.shape)[1]
    if groups == 1:
        out = following.atoms.fresh([num_out], is_layer=True)
        following.slice_tensor(weight, channels, out, *[None] * (ndim - 2))
    else:
        out = _grouped(following, channels, groups, num_out)
        following.slice_tensor(weight, channels, *[None] * (ndim - 1))
    following.slice_tensor(bias, out)
    return on_axis(out, 1, ndim)


def _linear(following: Following, node: Node) -> AtomArray:
    assert node.shape is not None
    x, weight, bias = node.args[0], node.args[1], node.args[2] if len(node.args) > 2 else None
    if not _holds(following, weight, bias):
        return following.fix(node, [following.array(x)], "its weights are computed")
    features = following.along(following.array(x), -1, following.shape(x)[-1])
    out = following.atoms.fresh([example(node.shape)[-1]], is_layer=True)
    following.slice_tensor(weight, out, features)
    following.slice_tensor(bias, out)
    return on_axis(out, -1, len(node.shape))


def _holds(following: Following, *arguments: Argument) -> bool:
    """Return whether the arguments are tensors of the network as they are, where they are given."""
    return all(a is None or (isinstance(a, Ref) and a.name in following.graph.tensor) for a in arguments)


def _channel_norm(following: Following, node: Node) -> AtomArray:
    x = node.args[0]
    channels = following.along(following.array(x), 1, following.shape(x)[1])
    for tensor in node.args[1:5]:
        if isinstance(tensor, Ref):
            following.slice_tensor(tensor, channels)
    return on_axis(channels, 1, len(following.shape(x)))


def _group_norm(following: Following, node: Node) -> AtomArray:
    x, groups = node.args[0], node.args[1]
    assert isinstance(groups, int)
    shape = following.shape(x)
    channels = following.along(following.array(x), 1, shape[1])
    if groups > 1:  # whole groups stay or go, so that the others' statistics remain
        channels = _grouped(following, channels, groups, shape[1])
    for tensor in node.args[2:4]:
        if isinstance(tensor, Ref):
            following.slice_tensor(tensor, channels)
    return on_axis(channels, 1, len(shape))


def _layer_norm(following: Following, node: Node) -> AtomArray:
    x, normalized = node.args[0], node.args[1]
    assert isinstance(normalized, tuple)
    array, shape = following.array(x), following.shape(x)
    first = len(shape) - len(normalized)
    inside = [axis for axis in varying_axes(array) if axis >= first]
    if len(inside) > 1:
        return following.fix(node, [array], "it normalises over several axes at once")
    if not inside:
        for tensor in node.args[2:4]:
            if isinstance(tensor, Ref):
                following.slice_tensor(tensor, *[None] * len(normalized))
        return array
    features = following.along(array, inside[0], shape[inside[0]])
    axes = [features if first + i == inside[0] else None for i in range(len(normalized))]
    for tensor in node.args[2:4]:
        if isinstance(tensor, Ref):
            following.slice_tensor(tensor, *axes)
    return on_axis(features, inside[0], len(shape))


def _prelu(following: Following, node: Node) -> AtomArray:
    x, weight = node.args[0], node.args[1]
    array, shape = following.array(x), following.shape(x)
    if not _holds(following, weight):
        return following.fix(node, [array], "its weights are computed")
    if following.shape(weight)[0] == 1:
        following.slice_tensor(weight, None)
        return array
    channels = following.along(array, 1, shape[1])
    following.slice_tensor(weight, channels)
    return on_axis(channels, 1, len(shape))


def _pool(following: Following, node: Node) -> AtomArray:
    x = node.args[0]
    shape = following.shape(x)
    if node.kind.endswith("1d") and len(shape) == 2:
        return following.fix(node, [following.array(x)], "it pools over channels")
    return on_axis(following.along(following.array(x), 1, shape[1]), 1, len(shape))


def _reduction(following: Following, node: Node) -> AtomArray:
    x, axes = node.args[0], node.args[1] if len(node.args) > 1 else None
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


def _softmax(following: Following, node: Node) -> AtomArray:
    x, axis = node.args[0], node.args[1]
    assert isinstance(axis, int)
    array = following.array(x)
    if array.shape[axis] > 1:
        return following.fix(node, [array], f"{node.kind} is taken over it")
    return array


def _matmul(following: Following, node: Node) -> AtomArray:
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
    a, b = _lifted(a, ndim), _lifted(b, ndim)
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


def _attention(following: Following, node: Node) -> AtomArray:
    query, key, value = node.args[:3]
    swapped = following.array(key).swapaxes(-1, -2)
    scores = _product(following, node, (query, following.array(query)), (key, swapped))
    for axis in (-1, -2):
        if scores.shape[axis] > 1:
            scores = following.fix(node, [scores], "softmax is taken over it")
    values = following.array(value)
    if any(scores.shape[axis] > 1 for axis in range(scores.ndim - 2)):
        following.atoms.tie(scores, values)
        return np.broadcast_to(values, np.broadcast_shapes(scores.shape, values.shape))
    return values if values.shape[-2] == 1 else following.fix(node, [values], "it is attended to")


def _move(following: Following, node: Node) -> AtomArray:
    """Put atoms where the operator puts elements."""
    assert node.shape is not None
    array = following.array(node.args[0])
    axes = varying_axes(array)
    if not axes:
        return array.reshape((1,) * len(node.shape))
    if node.kind == "permute":
        order = node.args[1]
        assert isinstance(order, tuple)
        return array.transpose([int(axis) for axis in order])  # type: ignore[arg-type]
    full = np.broadcast_to(array, following.shape(node.args[0]))
    if node.kind == "expand":
        shape = example(node.shape)
        lifted = _lifted(array, len(shape))
        return lifted if len(axes) == len(varying_axes(lifted)) else np.broadcast_to(full, shape)
    return following.atoms.compress(full.reshape(example(node.shape)))


def _select(following: Following, node: Node) -> AtomArray:
    x, axis, index = node.args[:3]
    assert isinstance(axis, int) and isinstance(index, int)
    array = following.array(x)
    if varying_axes(array) == [axis % array.ndim]:
        following.fix(node, [array], "single channels are selected")
    chosen = array.take([0 if array.shape[axis] == 1 else index], axis)
    return chosen.reshape([size for i, size in enumerate(chosen.shape) if i != axis % array.ndim])


def _slice(following: Following, node: Node) -> AtomArray:
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


def _scatter(following: Following, node: Node) -> AtomArray:
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


def _cat(following: Following, node: Node) -> AtomArray:
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
                _tie_constant(following, following.atoms.tie_along(total, axis), ref)
        return following.atoms.tie_along(total, axis)
    if not along:
        return arrays[computed[0]]
    whole = []
    for ref in refs:
        size = following.shape(ref)[axis]
        array = arrays.get(ref, fixed(len(node.shape)))
        shape = [1] * len(node.shape)
        shape[axis] = size
        whole.append(np.broadcast_to(array, shape))
    return np.concatenate(whole, axis=axis)


def _differ(following: Following, arrays: Sequence[AtomArray]) -> bool:
    """Return whether arrays without variation are of several sets."""
    first = {int(following.atoms.find(a.ravel()[:1])[0]) for a in arrays}
    return len(first) > 1


def _split(following: Following, node: Node) -> AtomArray:
    return following.array(node.args[0])


def _getitem(following: Following, node: Node) -> AtomArray:
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


def _pad(following: Following, node: Node) -> AtomArray:
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


def _pixel_shuffle(following: Following, node: Node) -> AtomArray:
    x, factor = node.args[0], node.args[1]
    assert isinstance(factor, int)
    shape = following.shape(x)
    channels = following.along(following.array(x), 1, shape[1])
    rows = following.atoms.tie_along(channels.reshape(-1, factor**2), 1)
    return on_axis(rows.ravel(), 1, len(shape))


def _index(following: Following, node: Node) -> AtomArray:
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
    return _lifted(kept, len(node.shape))


def _roll(following: Following, node: Node) -> AtomArray:
    x, axes = node.args[0], node.args[-1]
    array = following.array(x)
    moved = {axis % array.ndim for axis in axes if isinstance(axis, int)} if isinstance(axes, tuple) else set()
    if not moved or any(axis in moved for axis in varying_axes(array)):
        return following.fix(node, [array], f"channels are moved by {node.kind}")
    return array


def _constant(_following: Following, node: Node) -> AtomArray:
    return fixed(len(node.shape or ()))


Rule = Callable[[Following, Node], AtomArray]

SEVERAL = frozenset({"split_with_sizes"})
"""Followed operators that give several tensors."""

RULES: dict[str, Rule] = {
    **dict.fromkeys(SAME_SHAPE, _same),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys(MOVES, _move),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(CONSTANTS, _constant),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv_transpose),
    **dict.fromkeys(("batch_norm", "instance_norm"), _channel_norm),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **dict.fromkeys(("matmul", "bmm"), _matmul),
    **dict.fromkeys(("roll", "flip"), _roll),
    **dict.fromkeys(("select_scatter", "slice_scatter"), _scatter),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    "linear": _linear,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "prelu": _prelu,
    "scaled_dot_product_attention": _attention,
    "select": _select,
    "slice": _slice,
    "cat": _cat,
    "split_with_sizes": _split,
    "getitem": _getitem,
    "pixel_shuffle": _pixel_shuffle,
    "index": _index,
}
"""How each operator is followed, by its name without overload."""
