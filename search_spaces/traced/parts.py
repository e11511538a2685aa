"""Cutting a graph into parts that are measured alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from search_spaces.traced.branches import WEIGHTED, is_per_image
from search_spaces.traced.graph import Graph, Node, Ref
from search_spaces.traced.operator_kinds import POOLS

HEAVY = WEIGHTED | POOLS
"""Operators that begin a part; others go with what they follow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Nodes that are measured as one.

    Attributes:
        graph: of the part alone; values from elsewhere are its inputs.
    """

    graph: Graph

    @property
    def nodes(self) -> frozenset[str]:
        """The names of its nodes."""
        return frozenset(node.name for node in self.graph.nodes)


def narrow_parts(graph: Graph) -> list[Part]:
    """Return the parts between the places where a single tensor passes, in the network's order.

    A convolution with the normalisation and activation after it is one part, and so is a residual block.
    """
    free = _free_nodes(graph)
    runs: list[list[Node]] = [[]]
    for node, is_end in _with_ends(graph, free):
        runs[-1].append(node)
        if is_end:
            runs.append([])
    merged: list[list[Node]] = []
    for run in filter(None, runs):
        is_heavy = any(node.kind in HEAVY for node in run)
        had_heavy = bool(merged) and any(node.kind in HEAVY for node in merged[-1])
        if merged and (not is_heavy or not had_heavy):
            merged[-1] += run
        else:
            merged.append(list(run))
    return [_part(graph, free, {node.name for node in run}) for run in merged]


def fine_parts(graph: Graph, part: Part) -> list[Part]:
    """Return the parts of a part: each operator that computes with what follows it alone; sums and joins by themselves.

    Values between them have a single batch axis, the first: where one has not, its giver and its takers stay one part.
    """
    free = _free_nodes(graph)
    nodes = [node for node in part.graph.nodes if node.name not in free]
    number: dict[str, int] = {}
    for node in nodes:
        computed = [n for n in dict.fromkeys(node.inputs) if n in number]
        outside = [n for n in dict.fromkeys(node.inputs) if n not in number and n not in graph.tensor and n not in free]
        follows = len(computed) == 1 and not outside and len(graph.users[computed[0]]) == 1
        number[node.name] = number[computed[0]] if follows and node.kind not in HEAVY else len(number)
    while (merged := _with_single_outputs(graph, nodes, number)) != number:
        number = merged
    groups: dict[int, set[str]] = {}
    for node in nodes:
        groups.setdefault(number[node.name], set()).add(node.name)
    return [_part(graph, free, names) for names in groups.values()]


def _free_nodes(graph: Graph) -> set[str]:
    """Return the nodes that depend on no image: they belong to whatever takes them."""
    known = set(graph.tensor)
    free = set()
    for node in graph.nodes:
        if all(name in known for name in node.inputs):
            free.add(node.name)
            known.add(node.name)
    return free


def _with_ends(graph: Graph, free: set[str]) -> Iterator[tuple[Node, bool]]:
    """Yield the nodes that depend on images, and whether a single tensor passes on after each."""
    last: dict[str, int] = {}
    nodes = [node for node in graph.nodes if node.name not in free]
    for position, node in enumerate(nodes):
        for name in node.inputs:
            last[name] = position
    live = {name for name, _ in graph.inputs}
    for position, node in enumerate(nodes):
        live.add(node.name)
        live = {name for name in live if last.get(name, -1) > position}
        yield node, live == {node.name} and is_per_image(graph, node.name)


def _with_single_outputs(graph: Graph, nodes: Sequence[Node], number: Mapping[str, int]) -> dict[str, int]:
    """Return the parts, merged where they cannot be apart: none gives two values, none is before and after another."""
    edges = []
    inside = {node.name for node in nodes}
    outputs: dict[int, set[str]] = {}
    for node in nodes:
        for user in graph.users.get(node.name, ()):
            if user.name in inside and number[user.name] == number[node.name]:
                continue
            outputs.setdefault(number[node.name], set()).add(node.name)
            if user.name in inside:
                edges.append((number[node.name], number[user.name]))
                if not is_per_image(graph, node.name):
                    edges.append((number[user.name], number[node.name]))
    for node in nodes:
        if len(outputs.get(number[node.name], ())) > 1:
            for user in graph.users.get(node.name, ()):
                if user.name in inside:
                    edges.append((number[user.name], number[node.name]))
    size = max(number.values()) + 1
    rows, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    matrix = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    return {name: int(labels[old]) for name, old in number.items()}


def _part(graph: Graph, free: set[str], names: Iterable[str]) -> Part:
    """Return the part of those nodes, and of the free ones that they need."""
    needed = set(names)
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(name for name in node.inputs if name in free)
    nodes = tuple(node for node in graph.nodes if node.name in needed)
    taken = dict.fromkeys(name for node in nodes for name in node.inputs)
    inputs = [name for name in taken if name not in needed and name not in graph.tensor]
    outputs = [
        node.name
        for node in nodes
        if node.name not in free
        and (node.name == graph.output or any(user.name not in needed for user in graph.users.get(node.name, ())))
    ]
    assert len(outputs) == 1, outputs
    return Part(
        graph=Graph(
            inputs=tuple((name, graph.shape_of(name)) for name in inputs),
            tensors=tuple(tensor for tensor in graph.tensors if tensor.name in taken),
            nodes=nodes,
            output=outputs[0],
        )
    )


def with_owners(parts: Sequence[Part]) -> list[Part]:
    """Return the parts with weights that an earlier one has too as constants, so that no weight is counted twice."""
    seen: set[str] = set()
    owned = []
    for part in parts:
        tensors = tuple(replace(t, is_trained=t.is_trained and t.name not in seen) for t in part.graph.tensors)
        seen |= {tensor.name for tensor in tensors}
        owned.append(Part(graph=replace(part.graph, tensors=tensors)))
    return owned


def canonical_graph(graph: Graph) -> Graph:
    """Return the graph with names that tell nothing but the order, so that equal parts are equal."""
    names = {name: f"x{i}" for i, (name, _) in enumerate(graph.inputs)}
    used = dict.fromkeys(name for node in graph.nodes for name in node.inputs if name in graph.tensor)
    names |= {name: f"t{i}" for i, name in enumerate(used)}
    names |= {node.name: f"n{i}" for i, node in enumerate(graph.nodes)}

    def renamed(argument):  # type: ignore[no-untyped-def]
        if isinstance(argument, Ref):
            return Ref(names[argument.name])
        return tuple(renamed(a) for a in argument) if isinstance(argument, tuple) else argument

    return Graph(
        inputs=tuple((names[name], shape) for name, shape in graph.inputs),
        tensors=tuple(replace(graph.tensor[name], name=names[name]) for name in used),
        nodes=tuple(replace(node, name=names[node.name], args=renamed(node.args)) for node in graph.nodes),
        output=names[graph.output],
    )
