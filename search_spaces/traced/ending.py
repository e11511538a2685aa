"""What the graph of a classifier ends in behind the scores of its classes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

from onnx_models.ending import Ending
from search_spaces.traced.graph import Argument, Graph, Node, PerImage, Ref, mapped, operators

ENDINGS = operators("log_softmax sigmoid softmax")


def ending_of(graph: Graph) -> Ending | None:
    """Return what a graph ends in; None where it gives scores."""
    last = _last(graph)
    return None if last is None else cast(Ending, last.kind)


def scoring(graph: Graph) -> Graph:
    """Return the graph without what it ends in: it gives scores, as losses take them."""
    last = _last(graph)
    if last is None:
        return graph

    def moved(argument: Ref | PerImage) -> Argument:
        return Ref(last.inputs[0]) if argument == Ref(last.name) else argument

    nodes = tuple(replace(node, args=mapped(node.args, moved)) for node in graph.nodes)
    output = last.inputs[0] if graph.output == last.name else graph.output
    return replace(graph, nodes=nodes, output=output).without_dead()


def _last(graph: Graph) -> Node | None:
    """Return the node of an ending, which is the last but for reshaping; None where there is none."""
    node = graph.by_name.get(graph.output)
    while node is not None and node.kind == "reshape":
        node = graph.by_name.get(node.inputs[0])
    return node if node is not None and _is_ending(graph, node) else None


def _is_ending(graph: Graph, node: Node) -> bool:
    """Return whether a node is an ending: of values that were computed, over all classes of an image."""
    if node.kind not in ENDINGS or node.inputs[0] not in graph.by_name:
        return False
    assert node.shape is not None
    first, *classes = node.shape
    if first != PerImage(1) or not all(isinstance(size, int) for size in classes):
        return False
    axis = node.args[1] if len(node.args) > 1 else None
    return node.kind == "sigmoid" or (isinstance(axis, int) and node.shape[axis] == math.prod(classes))  # type: ignore[arg-type]
