"""The graph of a network: operators of torch's ATen in the order they run, and the shapes of everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

EXAMPLE_BATCH = 2
"""Images in the batch that shapes are written for; sizes that grow with the batch are multiples of it."""


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of a node, an input or a tensor, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class PerImage:
    """A size that is so many times the images of a batch."""

    times: int


Size = int | PerImage
Argument = Ref | PerImage | int | float | bool | str | None | tuple["Argument", ...]
"""What an operator is called with: values by name, numbers, and lists of both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """A tensor that the network holds.

    Attributes:
        is_trained: whether it is a parameter; otherwise statistics or a constant.
        dtype: torch's name of its numbers' type.
    """

    name: str
    shape: tuple[int, ...]
    is_trained: bool
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One operator.

    Attributes:
        op: its name in ATen with the overload, such as `conv2d.default`; `getitem` for one of several outputs.
        args: positional arguments in the order of its schema, defaults left out at the end.
        shape: of what it gives; None where it gives several tensors.
    """

    name: str
    op: str
    args: tuple[Argument, ...]
    shape: tuple[Size, ...] | None

    @property
    def kind(self) -> str:
        """The operator without its overload."""
        return self.op.partition(".")[0]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values that it takes, in order; a value that is taken twice is named twice."""
        return tuple(names_in(self.args))


def operators(names: str) -> frozenset[str]:
    """Return the names of operators in a text."""
    return frozenset(names.split())


def names_in(argument: Argument) -> Iterator[str]:
    """Yield the names of the values in an argument."""
    if isinstance(argument, Ref):
        yield argument.name
    elif isinstance(argument, tuple):
        for inner in argument:
            yield from names_in(inner)


def mapped(argument: Argument, values: Any) -> Any:
    """Return an argument with every `Ref` and `PerImage` replaced by what `values` gives for it."""
    if isinstance(argument, Ref | PerImage):
        return values(argument)
    if isinstance(argument, tuple):
        return tuple(mapped(inner, values) for inner in argument)
    return argument


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network of one or several inputs and one output.

    Attributes:
        inputs: names and shapes of what it is given, the batch first.
        tensors: what it holds, in the order of the module it was traced from.
        nodes: in an order in which they can run.
        output: name of what it gives.
    """

    inputs: tuple[tuple[str, tuple[Size, ...]], ...]
    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    output: str

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def tensor(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {tensor.name: tensor for tensor in self.tensors}

    @cached_property
    def users(self) -> dict[str, tuple[Node, ...]]:
        """The nodes that take each value, by its name."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def last_uses(self) -> dict[str, tuple[str, ...]]:
        """The values that nothing takes after each node, by its name; neither the output nor tensors."""
        last = {name: node.name for node in self.nodes for name in node.inputs}
        found: dict[str, list[str]] = {}
        for name, node_name in last.items():
            if name != self.output and name not in self.tensor:
                found.setdefault(node_name, []).append(name)
        return {name: tuple(values) for name, values in found.items()}

    def shape_of(self, name: str) -> tuple[Size, ...]:
        """Return the shape of a value."""
        if name in self.tensor:
            return self.tensor[name].shape
        if name in self.by_name:
            shape = self.by_name[name].shape
            assert shape is not None, f"{name} gives several tensors"
            return shape
        return dict(self.inputs)[name]

    def without_dead(self) -> Graph:
        """Return the graph without nodes and tensors that the output does not depend on."""
        needed = {self.output}
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return replace(
            self,
            nodes=tuple(n for n in self.nodes if n.name in needed),
            tensors=tuple(t for t in self.tensors if t.name in needed),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TracedNetwork:
    """A network as a graph, and the values of the tensors it holds, by name."""

    graph: Graph
    values: Mapping[str, torch.Tensor]


def common_path(names: Iterable[str]) -> str:
    """Return the modules that dotted names of layers have in common, from the outermost on; empty where none is."""
    levels = zip(*(name.split(".") for name in names), strict=False)
    return ".".join(parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, levels))


def times_of(shape: tuple[Size, ...]) -> int:
    """Return how many entries a value has along its first axis for each image."""
    return shape[0].times if isinstance(shape[0], PerImage) else 1


def example(shape: tuple[Size, ...], batch: int = EXAMPLE_BATCH) -> tuple[int, ...]:
    """Return a shape in numbers, for so many images."""
    return tuple(size.times * batch if isinstance(size, PerImage) else size for size in shape)
