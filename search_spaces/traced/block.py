"""Parts of somebody's network as blocks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import nn

from search_spaces.block import IDENTITY_KEY, Block, Shape
from search_spaces.traced.graph import Graph, PerImage, Ref, Size
from search_spaces.traced.network import GraphNetwork, fill


@dataclass(frozen=True, eq=False)
class TracedBlock(Block):
    """A part of a network: its graph, with canonical names. Equal by key."""

    family: ClassVar[str] = "part"

    graph: Graph

    @cached_property
    def key(self) -> str:
        """The operators and shapes, and a hash of everything that the part's cost depends on."""
        if self.is_identity:
            return IDENTITY_KEY
        kinds = "+".join(dict.fromkeys(node.kind for node in self.graph.nodes))
        fields = {
            "in": ";".join(_text(shape) for shape in self.input_shapes),
            "out": _text(self.output_shape),
            **self._properties(),
            "id": hashlib.sha256(graph_text(self.graph).encode()).hexdigest()[:16],
        }
        return f"{kinds[:80]}({','.join(f'{name}={value}' for name, value in fields.items())})"

    @property
    def is_identity(self) -> bool:
        """Whether nothing is left of it."""
        return not self.graph.nodes

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Return the shape of every value that it takes; of several entries for each image their axis is first."""
        return tuple(_shape(shape) for _, shape in self.graph.inputs)

    @property
    def output_shape(self) -> Shape:
        """Return the shape of the value that it gives, likewise."""
        return _shape(self.graph.shape_of(self.graph.output))

    def build(self) -> nn.Module:
        """Return the part as a module, its weights random."""
        network = GraphNetwork(self.graph)
        fill(network)
        return _PerImage(self, network)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TracedBlock) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def _properties(self) -> dict[str, str]:
        """Return what blocks have in common that cost alike: the size of the map, the first kernel and stride."""
        properties = {}
        if len(self.output_shape) == 3:
            properties["hw"] = "x".join(map(str, self.output_shape[1:]))
        for node in self.graph.nodes:
            if node.kind.startswith("conv") and isinstance(weight := node.args[1], Ref):
                properties["k"] = "x".join(map(str, self.graph.shape_of(weight.name)[2:]))
                stride = node.args[3] if len(node.args) > 3 else 1
                properties["s"] = str(stride[0] if isinstance(stride, tuple) else stride)
                properties["g"] = str(min(2, int(node.args[6]) if len(node.args) > 6 else 1))  # type: ignore[arg-type]
                break
        return properties


class _PerImage(nn.Module):
    """Takes and gives values whose first axis is the batch."""

    def __init__(self, block: TracedBlock, network: GraphNetwork) -> None:
        super().__init__()
        self.network = network
        self._merged = [_times(shape) > 1 for _, shape in block.graph.inputs]
        self._times = _times(block.graph.shape_of(block.graph.output))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        taken = [x.flatten(0, 1) if merged else x for x, merged in zip(inputs, self._merged, strict=True)]
        output: torch.Tensor = self.network(*taken)
        return output.unflatten(0, (-1, self._times)) if self._times > 1 else output


def graph_text(graph: Graph) -> str:
    """Return everything that a graph's cost depends on, as text."""
    return json.dumps(
        {
            "inputs": [repr(shape) for _, shape in graph.inputs],
            "tensors": [(repr(t.shape), t.dtype, t.is_trained) for t in graph.tensors],
            "nodes": [(node.op, repr(node.args)) for node in graph.nodes],
            "output": graph.output,
        }
    )


def _shape(shape: tuple[Size, ...]) -> Shape:
    times = _times(shape)
    rest = tuple(size for size in shape[1:] if isinstance(size, int))
    assert len(rest) == len(shape) - 1, shape
    return (times, *rest) if times > 1 else rest


def _times(shape: tuple[Size, ...]) -> int:
    first = shape[0]
    assert isinstance(first, PerImage), shape
    return first.times


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
