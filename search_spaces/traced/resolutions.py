"""The resolutions that a network runs at besides its own: one graph for each, of the same operators and weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from onnx_models.image_size import ImageSize, height_width, size_text
from search_spaces.architecture import Architecture
from search_spaces.errors import SpaceError
from search_spaces.resolutions import Resized
from search_spaces.traced.branches import find_branches, find_kernels
from search_spaces.traced.graph import Argument, Graph, Node, PerImage
from search_spaces.traced.groups import SlicedGraph, find_groups
from search_spaces.traced.parts import Part


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolution:
    """A size of images, and the network's graph for them."""

    size: ImageSize
    graph: Graph

    def __post_init__(self) -> None:
        ((_, shape),) = self.graph.inputs
        if shape[2:] != height_width(self.size):
            raise SpaceError(f"the graph for images of {size_text(self.size)} takes {shape[2:]}")


class Resolutions:
    """The resolutions that a network runs at, of which an architecture's first choice is one where there are several.

    Args:
        own: the size of images that it was brought for, the first choice.
        sliced: its graph for those.
        others: further sizes.

    Attributes:
        columns: of the decision; none where there is one size alone.

    Raises:
        SpaceError: at another size the network is another.
    """

    def __init__(self, own: ImageSize, sliced: SlicedGraph, others: tuple[Resolution, ...]) -> None:
        self.others = others
        self.columns = [0] if others else []
        self._sizes = (own, *(resolution.size for resolution in others))
        self._sliced = (sliced, *(_aligned(sliced, resolution) for resolution in others))

    @property
    def choices(self) -> tuple[str, ...]:
        """The sizes as they are written."""
        return tuple(map(size_text, self._sizes))

    def chosen(self, architecture: Architecture) -> int:
        """Return the position of an architecture's resolution."""
        return architecture[0] if self.columns else 0

    def size(self, architecture: Architecture) -> ImageSize:
        """Return the size of an architecture's images."""
        return self._sizes[self.chosen(architecture)]

    def sliced(self, architecture: Architecture) -> SlicedGraph:
        """Return what can be left out of the network's graph for an architecture's resolution."""
        return self._sliced[self.chosen(architecture)]

    def before(self, architecture: Architecture) -> list[nn.Module]:
        """Return what images of the data go through before the network: nothing where it takes them as they are."""
        return [Resized(self.size(architecture))] if self.chosen(architecture) else []

    def parts(self, part: Part) -> list[SlicedGraph]:
        """Return for each resolution what can be left out of a part."""
        return [replace(sliced, graph=_part_at(part.graph, sliced.graph)) for sliced in self._sliced]


def _aligned(sliced: SlicedGraph, resolution: Resolution) -> SlicedGraph:
    """Return what of a network can be left out at another resolution, in the same units.

    Raises:
        SpaceError: it does not run as at its own, or its channels are tied otherwise.
    """
    whole, graph, size = sliced.graph, resolution.graph, size_text(resolution.size)
    if (found := _difference(whole, graph)) is not None:
        raise SpaceError(f"at {size} the network is another: {found}")
    other = find_groups(graph)
    if not _same_units(sliced, other):
        raise SpaceError(f"at {size} other channels of the network are tied to each other")
    if find_branches(graph) != find_branches(whole) or find_kernels(graph) != find_kernels(whole):
        raise SpaceError(f"at {size} other branches or kernels of the network can be left out")
    return other


def _part_at(part: Graph, whole: Graph) -> Graph:
    """Return a part of a network as it is at the resolution of the whole."""
    return replace(
        part,
        inputs=tuple((name, whole.shape_of(name)) for name, _ in part.inputs),
        nodes=tuple(whole.by_name[node.name] for node in part.nodes),
    )


def _difference(one: Graph, other: Graph) -> str | None:
    """Return in what two graphs differ besides numbers and sizes; None where in nothing."""
    if one.output != other.output or len(one.nodes) != len(other.nodes):
        return f"it runs {len(other.nodes)} operators, not {len(one.nodes)}"
    for own, its in zip(one.nodes, other.nodes, strict=True):
        if _form(own) != _form(its):
            return f"where it called {own.kind} ({own.name}), it calls {its.kind}"
    for tensor in one.tensors:
        if other.tensor.get(tensor.name) != tensor:
            return f"it holds another {tensor.name}"
    return None if len(one.tensors) == len(other.tensors) else "it holds other tensors"


def _form(node: Node) -> object:
    """Return what of a node is the same at every resolution."""
    axes = None if node.shape is None else tuple(isinstance(size, PerImage) for size in node.shape)
    return node.name, node.op, axes, tuple(_skeleton(node.args))


def _skeleton(argument: Argument) -> Iterator[object]:
    """Yield the values, texts and the batch in an argument, in order, and of numbers that there is one."""
    if isinstance(argument, tuple):
        yield len(argument)
        for inner in argument:
            yield from _skeleton(inner)
    elif isinstance(argument, PerImage):
        yield PerImage
    elif isinstance(argument, int | float) and not isinstance(argument, bool):
        yield int
    else:
        yield argument


def _same_units(one: SlicedGraph, other: SlicedGraph) -> bool:
    """Return whether the same units of the same tensors go together."""
    if one.groups != other.groups or one.tensors.keys() != other.tensors.keys():
        return False
    return all(
        (a is None) == (b is None) and (a is None or b is None or np.array_equal(a, b))
        for name, axes in one.tensors.items()
        for a, b in zip(axes, other.tensors[name], strict=True)
    )
