"""How layers with weights are followed; each rule returns the atoms of what its node gives."""

from __future__ import annotations

import numpy as np

from search_spaces.traced.atoms import AtomArray, varying_axes
from search_spaces.traced.following import Following, on_axis
from search_spaces.traced.graph import Argument, Node, Ref, example


def conv(following: Following, node: Node) -> AtomArray:
    """Follow a convolution, transposed or not: their weights have outputs and inputs the other way round."""
    assert node.shape is not None
    x, weight, bias = node.args[0], node.args[1], node.args[2] if len(node.args) > 2 else None
    groups = node.args[6] if len(node.args) > 6 else 1
    assert isinstance(groups, int)
    ndim = len(node.shape)
    if not _holds(following, weight, bias):
        return _fix_computed(following, node)
    is_transposed = node.kind.startswith("conv_transpose")
    channels = following.along(following.array(x), 1, following.shape(x)[1])
    num_out = example(node.shape)[1]
    if groups == 1:
        out = following.atoms.fresh([num_out], is_layer=True)
        first, second = (channels, out) if is_transposed else (out, channels)
    else:
        out = _grouped(following, channels, groups, num_out)
        first, second = channels if is_transposed else out, None
    following.slice_tensor(weight, first, second, *[None] * (ndim - 2))
    following.slice_tensor(bias, out)
    return on_axis(out, 1, ndim)


def _grouped(following: Following, channels: AtomArray, groups: int, num_out: int) -> AtomArray:
    """Return atoms of the output of a layer in groups: whole groups stay or go, with all they take."""
    rows = following.atoms.tie_along(channels.reshape(groups, -1), 1)
    return np.repeat(rows.ravel(), num_out // groups)


def linear(following: Following, node: Node) -> AtomArray:
    """Follow a linear layer."""
    assert node.shape is not None
    x, weight, bias = node.args[0], node.args[1], node.args[2] if len(node.args) > 2 else None
    if not _holds(following, weight, bias):
        return _fix_computed(following, node)
    features = following.along(following.array(x), -1, following.shape(x)[-1])
    out = following.atoms.fresh([example(node.shape)[-1]], is_layer=True)
    following.slice_tensor(weight, out, features)
    following.slice_tensor(bias, out)
    return on_axis(out, -1, len(node.shape))


def _holds(following: Following, *arguments: Argument) -> bool:
    """Return whether the arguments are tensors of the network as they are, where they are given."""
    return all(a is None or (isinstance(a, Ref) and a.name in following.graph.tensor) for a in arguments)


def _fix_computed(following: Following, node: Node) -> AtomArray:
    """Have what a layer takes and gives stay: its weights are computed from others."""
    following.reasons[node.name] = "its weights are computed"
    arrays = [following.array(Ref(name)) for name in node.inputs]
    return following.fix(node, arrays, "its weights are computed")


def channel_norm(following: Following, node: Node) -> AtomArray:
    """Follow a normalisation that has numbers for each channel."""
    x = node.args[0]
    channels = following.along(following.array(x), 1, following.shape(x)[1])
    for tensor in node.args[1:5]:
        if isinstance(tensor, Ref):
            following.slice_tensor(tensor, channels)
    return on_axis(channels, 1, len(following.shape(x)))


def group_norm(following: Following, node: Node) -> AtomArray:
    """Follow a normalisation over groups of channels: whole groups stay or go."""
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


def layer_norm(following: Following, node: Node) -> AtomArray:
    """Follow a normalisation over the last axes."""
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


def prelu(following: Following, node: Node) -> AtomArray:
    """Follow an activation that may have a slope for each channel."""
    x, weight = node.args[0], node.args[1]
    array, shape = following.array(x), following.shape(x)
    if not _holds(following, weight):
        return _fix_computed(following, node)
    if following.shape(weight)[0] == 1:
        following.slice_tensor(weight, None)
        return array
    channels = following.along(array, 1, shape[1])
    following.slice_tensor(weight, channels)
    return on_axis(channels, 1, len(shape))
