"""What of a network can be chosen, and what stays as it is and why."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from search_spaces.cost import module_cost
from search_spaces.traced.branches import WEIGHTED
from search_spaces.traced.graph import Graph, Node, example
from search_spaces.traced.network import GraphNetwork
from search_spaces.traced.space import TracedSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerOverview:
    """A layer with weights.

    Attributes:
        decisions: names of the decisions that its cost depends on; none where it stays as it is.
        reason: why it stays.
    """

    name: str
    kind: str
    macs: int
    decisions: tuple[str, ...]
    reason: str | None


def layer_overviews(space: TracedSpace) -> list[LayerOverview]:
    """Return every layer that multiplies, in the network's order."""
    graph = space.network.graph
    found = []
    for node in graph.nodes:
        if node.kind in WEIGHTED:
            decisions = tuple(space.decisions[c].name for c in space.columns_of_node(node.name))
            found.append(
                LayerOverview(
                    name=_name(graph, node),
                    kind=node.kind,
                    macs=node_macs(graph, node),
                    decisions=decisions,
                    reason=None if decisions else _reason(space, node),
                )
            )
    return found


def elastic_share(space: TracedSpace) -> float:
    """Return the share of the multiply-accumulates that are in layers of which something can be chosen."""
    layers = layer_overviews(space)
    return sum(layer.macs for layer in layers if layer.decisions) / max(sum(layer.macs for layer in layers), 1)


def node_macs(graph: Graph, node: Node) -> int:
    """Return the multiply-accumulates of one operator at batch 1."""
    values = [name for name in dict.fromkeys(node.inputs) if name not in graph.tensor]
    alone = Graph(
        inputs=tuple((name, graph.shape_of(name)) for name in values) or graph.inputs,  # of a layer of constants
        tensors=tuple(graph.tensor[name] for name in dict.fromkeys(node.inputs) if name in graph.tensor),
        nodes=(node,),
        output=node.name,
    )
    with torch.device("meta"):
        network = GraphNetwork(alone)
        inputs = [torch.empty(example(shape, 1)) for _, shape in alone.inputs]
    return module_cost(network, *inputs).macs


def _name(graph: Graph, node: Node) -> str:
    tensors = [name for name in node.inputs if name in graph.tensor]
    return tensors[0].removesuffix(".weight") if tensors else node.name


def _reason(space: TracedSpace, node: Node) -> str:
    """Return why a layer stays as it is."""
    if node.name in space.reasons:
        return space.reasons[node.name]
    name = _name(space.network.graph, node)
    if name in space.reasons:
        return space.reasons[name]
    return "it has too few channels for another width, or they are tied to what stays"
