"""How much of somebody's network can be chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from search_spaces.cost import module_cost
from search_spaces.traced.branches import WEIGHTED
from search_spaces.traced.graph import Graph, Node, example
from search_spaces.traced.network import GraphNetwork
from search_spaces.traced.space import TracedSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerReach:
    """The multiply-accumulates of one operator at batch 1, and whether any decision changes or removes it."""

    name: str
    macs: int
    is_elastic: bool


def layer_reaches(space: TracedSpace) -> list[LayerReach]:
    """Return every operator that multiplies, in the network's order."""
    graph = space.network.graph
    return [
        LayerReach(name=_layer_name(graph, node), macs=node_macs(graph, node), is_elastic=_is_elastic(space, node))
        for node in graph.nodes
        if node.kind in WEIGHTED
    ]


def elastic_share(space: TracedSpace) -> float:
    """Return the share of the network's multiply-accumulates in operators that some decision changes or removes."""
    layers = layer_reaches(space)
    total = sum(layer.macs for layer in layers)
    return sum(layer.macs for layer in layers if layer.is_elastic) / total if total else 0.0


def node_macs(graph: Graph, node: Node) -> int:
    """Return the multiply-accumulates of one operator at batch 1."""
    values = [name for name in dict.fromkeys(node.inputs) if name not in graph.tensor]
    alone = Graph(
        inputs=tuple((name, graph.shape_of(name)) for name in values) or graph.inputs,
        tensors=tuple(graph.tensor[name] for name in dict.fromkeys(node.inputs) if name in graph.tensor),
        nodes=(node,),
        output=node.name,
    )
    with torch.device("meta"):
        network = GraphNetwork(alone)
        inputs = [torch.empty(example(shape, 1)) for _, shape in alone.inputs]
    return module_cost(network, *inputs).macs


def _layer_name(graph: Graph, node: Node) -> str:
    weights = [name for name in node.inputs if name in graph.tensor]
    return weights[0].rpartition(".")[0] or weights[0] if weights else node.name


def _is_elastic(space: TracedSpace, node: Node) -> bool:
    sliced, elastic = space.elastic.sliced, space.elastic
    if any(node.name in branch.nodes for branch in elastic.branches):
        return True
    if any(kernel.weight in node.inputs for kernel in elastic.kernels):
        return True
    units = [axis for name in node.inputs for axis in sliced.tensors.get(name, ()) if axis is not None]
    units += [sliced.values[name][1] for name in (*node.inputs, node.name) if name in sliced.values]
    groups = {int(group) for axis in units for group in sliced.group_of_unit[axis].tolist()} - {-1}
    return any(len(elastic.widths[group]) > 1 for group in groups)
