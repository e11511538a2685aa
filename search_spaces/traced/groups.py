"""Groups of tied channels: what a width can be chosen for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from search_spaces.traced.atoms import FIXED, varying_axes
from search_spaces.traced.follow import follow
from search_spaces.traced.following import Following
from search_spaces.traced.graph import Graph

STAYS = 0
"""The unit of everything that always stays."""

Units = NDArray[np.int64]
"""The unit of each index along an axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Units that are alike: any number of them can be kept.

    Attributes:
        name: of the first layer whose outputs they are.
        units: their numbers; the units of different groups are different.
        unit_size: channels or features of one unit, where the layer of that name gives them.
        layers: names of all tensors that are sliced with them, in the network's order.
    """

    name: str
    units: tuple[int, ...]
    unit_size: int
    layers: tuple[str, ...]

    @property
    def size(self) -> int:
        """Channels or features of all units, where the layer of the group's name gives them."""
        return len(self.units) * self.unit_size


@dataclass(frozen=True, kw_only=True)
class SlicedGraph:
    """A graph, and what of it can be left out.

    Attributes:
        num_units: of all groups, and `STAYS`.
        values: axis and units of every value that varies, by name.
        tensors: units along each axis of every sliced tensor, by name; None along axes that stay whole.
        reasons: why something stays as it is, by the name of the node that says so.
    """

    graph: Graph
    groups: tuple[Group, ...]
    num_units: int
    values: Mapping[str, tuple[int, Units]]
    tensors: Mapping[str, tuple[Units | None, ...]]
    reasons: Mapping[str, str]

    @cached_property
    def group_of_unit(self) -> NDArray[np.int64]:
        """The position of each unit's group, [num_units]; -1 for `STAYS`."""
        found = np.full(self.num_units, -1, dtype=np.int64)
        for position, group in enumerate(self.groups):
            found[list(group.units)] = position
        return found


def find_groups(graph: Graph) -> SlicedGraph:
    """Return the graph with its groups of tied channels."""
    following = follow(graph)
    atoms = following.atoms
    sources = atoms.sources_of_sets()
    elastic = {root: names for root, names in sources.items() if root != FIXED and names & atoms.layer_sources}
    unit_of = np.zeros(int(max(sources)) + 1, dtype=np.int64)
    by_sources: dict[frozenset[int], list[int]] = {}
    for root in sorted(elastic):
        by_sources.setdefault(elastic[root], []).append(root)
    alike = [roots for roots in by_sources.values() if len(roots) > 1]
    for number, root in enumerate((root for roots in alike for root in roots), start=1):
        unit_of[root] = number
    tensors = {
        name: tuple(None if axis is None else _units(following, unit_of, axis) for axis in axes)
        for name, axes in following.axes.items()
    }
    tensors = {name: axes for name, axes in tensors.items() if any(axis is not None for axis in axes)}
    groups, first = [], 1
    group_of_unit = np.concatenate([[-1], *(np.full(len(roots), i) for i, roots in enumerate(alike))]).astype(np.int64)
    layers = _layers(graph, tensors, group_of_unit, len(alike))
    for position, roots in enumerate(alike):
        units = tuple(range(first, first + len(roots)))
        groups.append(_group(tensors, layers[position], units))
        first += len(roots)
    return SlicedGraph(
        graph=graph,
        groups=tuple(groups),
        num_units=first,
        values=_values(following, unit_of),
        tensors=tensors,
        reasons=following.reasons,
    )


def _units(following: Following, unit_of: Units, axis: NDArray[np.int64]) -> Units | None:
    """Return the units along an axis; None where all of them stay."""
    units = unit_of[following.atoms.find(axis)]
    return units if units.any() else None


def _values(following: Following, unit_of: Units) -> dict[str, tuple[int, Units]]:
    values = {}
    for name, array in following.arrays.items():
        if name in following.graph.tensor:
            continue
        compressed = following.atoms.compress(array)
        axes = varying_axes(compressed)
        assert len(axes) <= 1, name
        if axes and (units := _units(following, unit_of, compressed.ravel())) is not None:
            values[name] = (axes[0], units)
    return values


def _layers(
    graph: Graph, tensors: Mapping[str, tuple[Units | None, ...]], group_of_unit: Units, num: int
) -> list[list[str]]:
    """Return the names of the tensors that are sliced with each group, in the network's order."""
    found: list[list[str]] = [[] for _ in range(num)]
    for name in _as_used(graph):
        units = [axis for axis in tensors.get(name, ()) if axis is not None]
        if units:
            for position in set(group_of_unit[np.concatenate(units)].tolist()) - {-1}:
                found[position].append(name)
    return found


def _group(tensors: Mapping[str, tuple[Units | None, ...]], layers: Sequence[str], units: tuple[int, ...]) -> Group:
    """Return a group, named after the first of the layers that give the most of its channels."""
    counts = {
        name: int((axes[0] == units[0]).sum()) if (axes := tensors[name])[0] is not None else 0 for name in layers
    }
    most = max(counts.values()) or 1
    first = next((name for name, count in counts.items() if count == most), layers[0])
    return Group(name=first.rpartition(".")[0] or first, units=units, unit_size=most, layers=tuple(layers))


def _as_used(graph: Graph) -> list[str]:
    return list(dict.fromkeys(name for node in graph.nodes for name in node.inputs if name in graph.tensor))
