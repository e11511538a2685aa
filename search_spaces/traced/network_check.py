"""Whether a graph that somebody wrote into a file is one that can be run: checked without computing anything."""

from __future__ import annotations

import math
from typing import Any

import torch

from search_spaces.traced.graph import EXAMPLE_BATCH, Graph, Node, PerImage, Size, TracedNetwork, example
from search_spaces.traced.network import GraphNetwork, called
from search_spaces.traced.operator_kinds import IN_FILES

MOST_ELEMENTS = 1 << 30
"""Elements of one value for a batch of two; 64 channels of 2048 pixels a side are half as many."""

_PLACES = ("device", "generator", "layout", "memory_format", "pin_memory")
"""Arguments that say where and how a tensor lies; a network leaves them as they are."""


def require_fitting(network: TracedNetwork) -> None:
    """Raise ValueError unless tensors are those of the graph, and nodes give what it says of what is there before them.

    Raises:
        ValueError: they are not, or call what a file may not call.
        RuntimeError: an operator refuses what it is given.
    """
    graph = network.graph
    if len(graph.inputs) != 1 or graph.inputs[0][1][:1] != (PerImage(1),):
        raise ValueError(f"the network has the inputs {graph.inputs}, expected one batch of images")
    for tensor in graph.tensors:
        if tensor.name not in network.values or tuple(network.values[tensor.name].shape) != tensor.shape:
            raise ValueError(f"the tensor {tensor.name} is not as the graph has it")
        if str(network.values[tensor.name].dtype) != f"torch.{tensor.dtype}":
            raise ValueError(f"the tensor {tensor.name} is not of the type that the graph has it in")
    _require_shapes(graph, {name: value.to("meta") for name, value in network.values.items()})
    with torch.device("meta"):
        GraphNetwork(graph)


def require_harmless(node: Node) -> None:
    """Raise ValueError unless an operator may stand in a file: one that is known, and changes none of its inputs."""
    if node.kind not in IN_FILES:
        raise ValueError(f"{node.op} is no operator that a file of a network may have")
    if node.op == "getitem":
        return
    function = getattr(getattr(torch.ops.aten, node.kind), node.op.partition(".")[2], None)
    if not isinstance(function, torch._ops.OpOverload) or function._schema.is_mutable:
        raise ValueError(f"{node.op} is no operator that a file of a network may have")
    for argument, given in zip(function._schema.arguments, node.args, strict=False):
        if argument.name in _PLACES and given not in (None, False):
            raise ValueError(f"{node.name} gives {argument.name} of {node.op}, expected none")


def _require_shapes(graph: Graph, values: dict[str, Any]) -> None:
    """Raise ValueError unless every value has the shape that the graph says, as torch finds without computing it."""
    with torch.inference_mode():
        for name, shape in graph.inputs:
            _require_moderate(name, shape)
            values[name] = torch.empty(example(shape), device="meta")
        for node in graph.nodes:
            if not set(node.inputs) <= values.keys() or node.name in values:
                raise ValueError(f"the node {node.name} takes what is not there, or gives what is")
            require_harmless(node)
            if node.shape is not None:
                _require_moderate(node.name, node.shape)
            found = called(node, values.__getitem__, EXAMPLE_BATCH, is_training=False, device=torch.device("meta"))
            _require_same(node, found)
            values[node.name] = found
    if graph.output not in graph.by_name or graph.by_name[graph.output].shape is None:
        raise ValueError(f"the output {graph.output} is no value of the network")


def _require_same(node: Node, found: object) -> None:
    if node.shape is None:
        if not isinstance(found, tuple | list):
            raise ValueError(f"{node.name} gives one tensor, expected several")
        return
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != example(node.shape):
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise ValueError(f"{node.name} gives {shape}, expected {example(node.shape)} for {EXAMPLE_BATCH} images")


def _require_moderate(name: str, shape: tuple[Size, ...]) -> None:
    sizes = example(shape)
    if min(sizes, default=0) < 0 or math.prod(sizes) > MOST_ELEMENTS:
        raise ValueError(f"{name} has the shape {sizes}, expected at most {MOST_ELEMENTS:,} elements")
