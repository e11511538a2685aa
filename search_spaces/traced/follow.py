"""Following a graph: which channels, features and heads are tied to which, operator by operator."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.traced.atoms import FIXED, AtomArray, varying_axes
from search_spaces.traced.following import Following, fixed
from search_spaces.traced.graph import Graph, Node, Ref
from search_spaces.traced.operator_kinds import CONSTANTS, ELEMENTWISE, MOVES, POOLS, REDUCTIONS, SAME_SHAPE
from search_spaces.traced.rules.elements import constant, elementwise, pool, reduction, same, softmax
from search_spaces.traced.rules.layers import channel_norm, conv, group_norm, layer_norm, linear, prelu
from search_spaces.traced.rules.moves import (
    cat,
    getitem,
    index,
    move,
    pad,
    pixel_shuffle,
    repeat,
    roll,
    scatter,
    select,
    slice_,
    split,
)
from search_spaces.traced.rules.products import attention, matmul


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
        arrays = [following.array(ref) for ref in inputs if ref.name not in following.graph.tensor]
        return following.fix(node, arrays, f"the operator {node.kind} is not followed")
    try:
        return rule(following, node)
    except (AssertionError, IndexError, TypeError, ValueError):  # arguments of a form that the rule does not know
        arrays = [following.array(ref) for ref in inputs]
        return following.fix(node, arrays, f"the operator {node.kind} is called in a way that is not followed")


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
        if name in following.arrays and name in following.axes:  # of a layer too: both keep the same
            array = following.arrays[name]
            for axis, kept in enumerate(following.axes[name]):
                following.atoms.tie(following.along(array, axis, tensor.shape[axis]), FIXED if kept is None else kept)
        elif name in following.arrays:
            array = following.arrays[name] = following.atoms.compress(following.arrays[name])
            axes: list[AtomArray | None] = [None] * len(tensor.shape)
            for axis in varying_axes(array):
                axes[axis] = following.along(array, axis, tensor.shape[axis])
            following.axes[name] = axes


Rule = Callable[[Following, Node], AtomArray]

SEVERAL = frozenset({"split_with_sizes"})
"""Followed operators that give several tensors."""

RULES: dict[str, Rule] = {
    **dict.fromkeys(SAME_SHAPE, same),
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(POOLS, pool),
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(CONSTANTS, constant),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), conv),
    **dict.fromkeys(("batch_norm", "instance_norm"), channel_norm),
    **dict.fromkeys(("softmax", "log_softmax"), softmax),
    **dict.fromkeys(("matmul", "bmm"), matmul),
    **dict.fromkeys(("roll", "flip"), roll),
    **dict.fromkeys(("select_scatter", "slice_scatter"), scatter),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    "linear": linear,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "prelu": prelu,
    "scaled_dot_product_attention": attention,
    "select": select,
    "slice": slice_,
    "cat": cat,
    "split_with_sizes": split,
    "getitem": getitem,
    "pixel_shuffle": pixel_shuffle,
    "repeat": repeat,
    "index": index,
}
"""How each operator is followed, by its name without overload."""
