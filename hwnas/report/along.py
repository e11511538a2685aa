"""What a network that somebody brought has become, layer by layer and part by part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lut import LatencyTable
from search_spaces import Architecture, SearchSpace
from search_spaces.traced.branches import WEIGHTED
from search_spaces.traced.graph import Graph, Node, common_path
from search_spaces.traced.overview import node_macs
from search_spaces.traced.space import TracedSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class SlicedLayer:
    """A layer with weights of its own, as it was brought and in the winner.

    Attributes:
        before, after: channels that it gives; 0 after where it is left out.
    """

    name: str
    kind: str
    before: int
    after: int
    macs_before: int
    macs_after: int

    @property
    def is_left_out(self) -> bool:
        """Whether the branch that it is in was left out."""
        return self.after == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PartLatency:
    """Latency of a part alone, as it was brought and in the winner; 0 after where it is left out."""

    name: str
    before_ms: float
    after_ms: float


def sliced_layers(space: SearchSpace, winner: Architecture) -> list[SlicedLayer]:
    """Return the layers with weights, in the network's order; [] where networks are not slices of one."""
    if not isinstance(space, TracedSpace):
        return []
    whole, slice_ = space.network.graph, space.slice_of(winner).graph
    nodes = [node for node in whole.nodes if node.kind in WEIGHTED and _weights(whole, node)]
    found = []
    for node, name in zip(nodes, _unique(_weights(whole, node)[0] for node in nodes), strict=True):
        after = slice_.by_name.get(node.name)
        found.append(
            SlicedLayer(
                name=name,
                kind=node.kind,
                before=_channels(node),
                after=0 if after is None else _channels(after),
                macs_before=node_macs(whole, node),
                macs_after=0 if after is None else node_macs(slice_, after),
            )
        )
    return found


def part_latencies(space: SearchSpace, table: LatencyTable, winner: Architecture) -> list[PartLatency]:
    """Return what each part takes by the table; [] where networks are not slices of one, or the table lacks a part."""
    if not isinstance(space, TracedSpace):
        return []
    slots = space.block_indices(np.array([space.original, winner]))
    ms = [0.0 if b.is_identity else table.latency_ms.get(b.key, np.nan) for b in space.candidates]
    before, after = np.array(ms)[slots]
    if not np.isfinite([before, after]).all():
        return []
    names = _unique(_part_name(part.graph) for part in space.parts)
    return [
        PartLatency(name=name, before_ms=float(b), after_ms=float(a))
        for name, b, a in zip(names, before, after, strict=True)
        if b or a
    ]


def _part_name(graph: Graph) -> str:
    """Return what a part is called: by the modules that its layers are in, or by what it computes."""
    layers = [_weights(graph, node)[0] for node in graph.nodes if node.kind in WEIGHTED and _weights(graph, node)]
    if not layers:
        return "+".join(dict.fromkeys(node.kind for node in graph.nodes))
    return common_path(layers) or f"{layers[0]} to {layers[-1]}"


def _weights(graph: Graph, node: Node) -> list[str]:
    """Return the names of what a node holds, without what ends them all."""
    return [name.removesuffix(".weight") for name in node.inputs if name in graph.tensor]


def _channels(node: Node) -> int:
    """Return how many channels a layer gives: of maps the second axis, of tokens and features the last."""
    assert node.shape is not None
    size = node.shape[1 if node.kind.startswith("conv") else -1]
    assert isinstance(size, int)
    return size


def _unique(names: Iterable[str]) -> list[str]:
    """Return names, numbered where one is there several times."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
