"""From a graph and what is kept of it to the graph of the smaller network, and the slices of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from search_spaces.traced.graph import EXAMPLE_BATCH, Argument, Graph, Node, PerImage, Ref, Size, Tensor, mapped
from search_spaces.traced.groups import SlicedGraph


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A choice of what a smaller network keeps of a larger one.

    Attributes:
        units: [num_units] whether each stays.
        left_out: names of additions whose residual branch is left out, and of what they add it to.
        kernels: pixels a side of the kernels that become smaller, by the name of their weight.
    """

    units: NDArray[np.bool_]
    left_out: Mapping[str, str] = field(default_factory=dict)
    kernels: Mapping[str, int] = field(default_factory=dict)


def subgraph(sliced: SlicedGraph, kept: Kept) -> Graph:
    """Return the graph of the smaller network; names stay."""
    return _Cutter(sliced, kept).graph()


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """A smaller network, and what of the larger one's tensors it has.

    Attributes:
        indices: of every tensor, those that it keeps along each axis; None along axes that stay whole.
        kernels: pixels a side of the kernels that become smaller, by the name of their weight.
    """

    graph: Graph
    indices: Mapping[str, tuple[NDArray[np.int64] | None, ...]]
    kernels: Mapping[str, int]

    def values(self, whole: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the tensors of the smaller network, cut out of those of the larger one."""
        found = {}
        for name, indices in self.indices.items():
            value, kernel = _cut(whole[name], indices), self.kernels.get(name)
            found[name] = value if kernel is None else _middle(value, kernel)
        return found


def slice_of(sliced: SlicedGraph, kept: Kept) -> Slice:
    """Return the smaller network."""
    graph = subgraph(sliced, kept)
    indices = {tensor.name: _indices(sliced, kept, tensor.name) for tensor in graph.tensors}
    return Slice(graph=graph, indices=indices, kernels=kept.kernels)


def _indices(sliced: SlicedGraph, kept: Kept, name: str) -> tuple[NDArray[np.int64] | None, ...]:
    axes = sliced.tensors.get(name)
    if axes is None:
        return (None,) * len(sliced.graph.tensor[name].shape)
    return tuple(
        None if units is None or kept.units[units].all() else np.flatnonzero(kept.units[units]) for units in axes
    )


def _cut(tensor: torch.Tensor, indices: tuple[NDArray[np.int64] | None, ...]) -> torch.Tensor:
    for axis, chosen in enumerate(indices):
        if chosen is not None:
            tensor = tensor.index_select(axis, torch.from_numpy(chosen).to(tensor.device))
    return tensor


def _middle(weight: torch.Tensor, kernel: int) -> torch.Tensor:
    for axis in range(2, weight.ndim):
        weight = weight.narrow(axis, (weight.shape[axis] - kernel) // 2, kernel)
    return weight


class _Cutter:
    def __init__(self, sliced: SlicedGraph, kept: Kept) -> None:
        self._whole = sliced.graph
        self._sliced = sliced
        self._kept = kept

    def graph(self) -> Graph:
        def moved(ref: Ref | PerImage) -> Argument:
            while isinstance(ref, Ref) and ref.name in self._kept.left_out:
                ref = Ref(self._kept.left_out[ref.name])
            return ref

        nodes = []
        for node in self._whole.nodes:
            if node.name not in self._kept.left_out:
                cut_node = self._cut(node)
                nodes.append(replace(cut_node, args=mapped(cut_node.args, moved)))
        output = moved(Ref(self._whole.output))
        assert isinstance(output, Ref)
        return Graph(
            inputs=tuple((name, self._shape(name)) for name, _ in self._whole.inputs),
            tensors=tuple(self._tensor(tensor) for tensor in self._whole.tensors),
            nodes=tuple(nodes),
            output=output.name,
        ).without_dead()

    def _tensor(self, tensor: Tensor) -> Tensor:
        shape = list(tensor.shape)
        for axis, chosen in enumerate(_indices(self._sliced, self._kept, tensor.name)):
            if chosen is not None:
                shape[axis] = len(chosen)
        if tensor.name in self._kept.kernels:
            shape[2:] = [self._kept.kernels[tensor.name]] * (len(shape) - 2)
        return replace(tensor, shape=tuple(shape))

    def _shape(self, name: str) -> tuple[Size, ...]:
        shape = list(self._whole.shape_of(name))
        if name in self._sliced.values:
            axis, units = self._sliced.values[name]
            num = int(self._kept.units[units].sum())
            shape[axis] = PerImage(num // EXAMPLE_BATCH) if isinstance(shape[axis], PerImage) else num
        return tuple(shape)

    def before(self, name: str, axis: int, index: int) -> int:
        """Return how many of the first `index` places along an axis are kept."""
        if name in self._sliced.tensors:
            units = self._sliced.tensors[name][axis]
        else:
            own, units = self._sliced.values.get(name, (axis, None))
            units = units if own == axis else None
        return index if units is None else int(self._kept.units[units[:index]].sum())

    def share(self, node: Node, axis: int, num: int) -> int:
        """Return how many of `num` equal parts of a node's input along an axis are kept."""
        name = node.inputs[0]
        whole, kept = self._whole.shape_of(name)[axis], self._shape(name)[axis]
        assert isinstance(whole, int) and isinstance(kept, int)
        return num * kept // whole

    def _cut(self, node: Node) -> Node:
        shape = None if node.shape is None else self._shape(node.name)
        rule = _ARGUMENTS.get(node.kind)
        args = node.args if rule is None else rule(self, replace(node, shape=shape))
        return replace(node, shape=shape, args=args)

    def reshaped(self, node: Node) -> tuple[Argument, ...]:
        return (node.args[0], node.shape)

    def split(self, node: Node) -> tuple[Argument, ...]:
        x, sizes, axis = node.args
        assert isinstance(x, Ref) and isinstance(sizes, tuple) and isinstance(axis, int)
        ends = np.cumsum([0, *sizes]).tolist()
        places = [self.before(x.name, axis, end) for end in ends]
        return (x, tuple(after - before for before, after in pairwise(places)), axis)

    def selected(self, node: Node) -> tuple[Argument, ...]:
        x, axis, index = node.args
        assert isinstance(x, Ref) and isinstance(axis, int) and isinstance(index, int)
        return (x, axis, self.before(x.name, axis, index))

    def sliced(self, node: Node) -> tuple[Argument, ...]:
        x, axis, start, end, step = node.args
        assert isinstance(x, Ref) and isinstance(axis, int) and isinstance(start, int) and isinstance(end, int)
        return (x, axis, self.before(x.name, axis, start), self.before(x.name, axis, end), step)

    def convolved(self, node: Node) -> tuple[Argument, ...]:
        args = list(node.args)
        weight = args[1]
        if len(args) > 6 and args[6] != 1:
            args[6] = self.share(node, 1, args[6])  # type: ignore[arg-type]
        if isinstance(weight, Ref) and weight.name in self._kept.kernels:
            whole = self._whole.tensor[weight.name].shape[2]
            removed = (whole - self._kept.kernels[weight.name]) // 2
            dilation = args[5] if len(args) > 5 else 1
            padding = args[4]
            assert isinstance(padding, tuple)
            dilations = dilation if isinstance(dilation, tuple) else (dilation,) * len(padding)
            args[4] = tuple(p - removed * d for p, d in zip(padding, dilations, strict=True))  # type: ignore[operator]
        return tuple(args)

    def normalised(self, node: Node) -> tuple[Argument, ...]:
        normalized = node.args[1]
        assert isinstance(normalized, tuple)
        return (node.args[0], self._shape(node.inputs[0])[-len(normalized) :], *node.args[2:])

    def group_normalised(self, node: Node) -> tuple[Argument, ...]:
        groups = node.args[1]
        assert isinstance(groups, int)
        return (node.args[0], groups if groups == 1 else self.share(node, 1, groups), *node.args[2:])

    def padded(self, node: Node) -> tuple[Argument, ...]:
        amounts = node.args[1]
        assert isinstance(amounts, tuple) and node.shape is not None
        new = list(amounts)
        whole = self._whole.by_name[node.name].shape
        assert whole is not None
        for position in range(len(new) // 2):
            axis = len(whole) - 1 - position
            size, before, after = whole[axis], new[2 * position], new[2 * position + 1]
            assert isinstance(before, int) and isinstance(after, int)
            if (before or after) and isinstance(size, int):
                kept = [self.before(node.name, axis, end) for end in (before, size - after, size)]
                new[2 * position : 2 * position + 2] = [kept[0], kept[2] - kept[1]]
        return (node.args[0], tuple(new), *node.args[2:])


_ARGUMENTS: dict[str, Callable[[_Cutter, Node], tuple[Argument, ...]]] = {
    **dict.fromkeys(("reshape", "expand"), _Cutter.reshaped),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _Cutter.convolved),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _Cutter.convolved),
    **dict.fromkeys(("pad", "constant_pad_nd"), _Cutter.padded),
    "split_with_sizes": _Cutter.split,
    "select": _Cutter.selected,
    "slice": _Cutter.sliced,
    "layer_norm": _Cutter.normalised,
    "group_norm": _Cutter.group_normalised,
}
"""Arguments that depend on what is kept, by operator; of other operators none do."""
