"""The search space of a network that somebody brings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import nn

from onnx_models.ending import Ending
from onnx_models.image_size import ImageSize
from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.space import Decision, SearchSpace, Segment, SpaceSpec
from search_spaces.traced.block import TracedBlock
from search_spaces.traced.branches import Branch, Kernel, find_branches, find_kernels
from search_spaces.traced.ending import ending_of, scoring
from search_spaces.traced.graph import Graph, TracedNetwork
from search_spaces.traced.groups import SlicedGraph, find_groups
from search_spaces.traced.importance import num_required, ranked_units
from search_spaces.traced.ladder import Pins, steps_alike, widths
from search_spaces.traced.network import GraphNetwork, fill
from search_spaces.traced.parts import Part, canonical_graph, fine_parts, narrow_parts, with_owners
from search_spaces.traced.resolutions import Resolution, Resolutions
from search_spaces.traced.subnet import Kept, Slice, slice_of, subgraph
from search_spaces.traced.supernet import TracedSupernet

MOST_VARIANTS = 128
"""Variants of a part that are measured; of a part with more the pieces are, and then fewer widths are offered."""

KEPT_SHARE = 0.8
"""Share of the residual branches that a random network keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Elastic:
    """The parts of a network that can be chosen, in the network's order.

    Attributes:
        widths: of each group, the numbers of units to choose from, all of them first.
        ranks: of each group, its units, those that matter most first.
    """

    sliced: SlicedGraph
    widths: tuple[tuple[int, ...], ...]
    ranks: tuple[tuple[int, ...], ...]
    branches: tuple[Branch, ...]
    kernels: tuple[Kernel, ...]


class TracedSpace(SearchSpace):
    """Networks that are slices of one that somebody brings: narrower, shallower, with smaller kernels.

    The first choice of every decision is the network as it was brought.

    Args:
        network: as it was traced.
        pins: what stays as it is.
        ranks: of each group of channels, its units, those that matter most first; by their weights where not given.
        resolutions: that can be chosen besides its own, the first choice.

    Raises:
        SpaceError: at a resolution the network is another.
    """

    is_elastic = True
    has_weights = True

    def __init__(
        self,
        spec: SpaceSpec,
        network: TracedNetwork,
        pins: Pins | None = None,
        ranks: tuple[tuple[int, ...], ...] | None = None,
        resolutions: tuple[Resolution, ...] = (),
    ) -> None:
        self.spec = spec
        self.network = network
        self.pins = pins = pins or Pins()
        sliced = find_groups(network.graph)
        self.resolutions = Resolutions(spec.input_size, sliced, resolutions)
        self.reasons = dict(sliced.reasons)
        branches = tuple(b for b in find_branches(network.graph) if not _is_held(network.graph, b, pins))
        for group in sliced.groups:
            frozen = next((name for name in group.layers if pins.holds(name)), None)
            if frozen is not None:
                why = f"it is tied to {frozen}, which is frozen"
                self.reasons |= {n.rpartition(".")[0]: "it is frozen" if pins.holds(n) else why for n in group.layers}
        kernels = tuple(k for k in find_kernels(network.graph) if not pins.holds(k.weight))
        self.elastic = Elastic(
            sliced=sliced,
            widths=tuple(
                widths(group, pins, least=least)
                for group, least in zip(sliced.groups, num_required(sliced), strict=True)
            ),
            ranks=ranked_units(sliced, network.values) if ranks is None else _checked(ranks, sliced),
            branches=branches,
            kernels=kernels,
        )
        self._parts = narrow_parts(network.graph)
        self._groups: dict[str, list[int]] = {}  # of each part, by its output
        self._cut_finer()
        self._choose_decisions()
        self._tabulate()

    def _cut_finer(self) -> None:
        """Cut parts with too many variants into pieces, and offer fewer widths where pieces still have too many."""
        graph = self.network.graph
        parts: list[Part] = []
        for part in self._parts:
            parts += fine_parts(graph, part) if self._num_variants(part) > MOST_VARIANTS else [part]
        self._groups.clear()
        self._parts = with_owners(parts)
        self.is_chain = all(len(part.graph.inputs) == 1 for part in parts)
        uses = Counter(group for part in parts for group in self._groups_in(part))
        for part in sorted(parts, key=self._num_variants, reverse=True):
            while self._num_variants(part) > MOST_VARIANTS:
                groups = [g for g in self._groups_in(part) if len(self.elastic.widths[g]) > 1]
                if groups:
                    self._coarsen(max(groups, key=lambda g: (len(self.elastic.widths[g]), uses[g])))
                else:
                    self._fix_kernels(part)
                    break
        self.elastic = replace(self.elastic, kernels=tuple(k for k in self.elastic.kernels if len(k.sizes) > 1))

    def _fix_kernels(self, part: Part) -> None:
        """Have the kernels in a part stay as they are."""
        fixed = set(self._kernels_in(part))
        kernels = [replace(k, sizes=k.sizes[:1]) if i in fixed else k for i, k in enumerate(self.elastic.kernels)]
        self.elastic = replace(self.elastic, kernels=tuple(kernels))

    def _coarsen(self, position: int) -> None:
        """Offer every other width of a group, the whole one among them; at last that alone."""
        of_all = list(self.elastic.widths)
        before = of_all[position]
        of_all[position] = before[::2] if len(before) > 2 else before[:1]
        self.elastic = replace(self.elastic, widths=tuple(of_all))
        if len(of_all[position]) == 1:
            name = self.elastic.sliced.groups[position].name
            self.reasons[name] = "it goes into layers that too many others go into"

    def _groups_in(self, part: Part) -> list[int]:
        """Return the positions of the groups that a part's cost depends on."""
        if part.graph.output not in self._groups:
            self._groups[part.graph.output] = self._found_groups(part)
        return self._groups[part.graph.output]

    def _found_groups(self, part: Part) -> list[int]:
        sliced = self.elastic.sliced
        arrays = [units for t in part.graph.tensors for units in sliced.tensors.get(t.name, ()) if units is not None]
        names = [*part.nodes, *(name for name, _ in part.graph.inputs)]
        arrays += [sliced.values[name][1] for name in names if name in sliced.values]
        found = {int(group) for units in arrays for group in sliced.group_of_unit[np.unique(units)].tolist()}
        return sorted(found - {-1})

    def _branches_in(self, part: Part) -> list[int]:
        return [
            i
            for i, branch in enumerate(self.elastic.branches)
            if branch.addition in part.nodes or part.nodes <= branch.nodes
        ]

    def _kernels_in(self, part: Part) -> list[int]:
        names = {tensor.name for tensor in part.graph.tensors}
        return [i for i, kernel in enumerate(self.elastic.kernels) if kernel.weight in names]

    def _num_variants(self, part: Part) -> int:
        num = 1
        for group in self._groups_in(part):
            num *= len(self.elastic.widths[group])
        for kernel in self._kernels_in(part):
            num *= len(self.elastic.kernels[kernel].sizes)
        # A branch that is left out leaves one variant.
        return num + len(self._branches_in(part))

    def _choose_decisions(self) -> None:
        """Name the decisions in the network's order; groups of one width are none."""
        elastic, graph = self.elastic, self.network.graph
        place = {name: i for i, node in reversed(list(enumerate(graph.nodes))) for name in (node.name, *node.inputs)}
        found: list[tuple[int, str, int, tuple[str, ...]]] = []
        if self.resolutions.columns:
            found.append((-1, "resolution", 0, self.resolutions.choices))
        for i, group in enumerate(elastic.sliced.groups):
            if len(elastic.widths[i]) > 1:
                choices = tuple(str(num * group.unit_size) for num in elastic.widths[i])
                found.append((place[group.layers[0]], f"{group.name}.width", i, choices))
        for i, branch in enumerate(elastic.branches):
            first = min(place[name] for name in branch.nodes)
            found.append((first, f"{branch.name}.branch", i, ("kept", "left out")))
        for i, kernel in enumerate(elastic.kernels):
            name = kernel.weight.removesuffix(".weight")
            found.append((place[kernel.weight], f"{name}.kernel", i, tuple(map(str, kernel.sizes))))
        found.sort(key=lambda entry: entry[0])
        names: dict[str, int] = {}
        decisions = []
        self._column: dict[tuple[str, int], int] = {}
        for column, (_, name, position, choices) in enumerate(found):
            names[name] = names.get(name, 0) + 1
            unique = name if names[name] == 1 else f"{name}.{names[name]}"
            decisions.append(Decision(name=unique, choices=choices))
            self._column[name.rpartition(".")[2], position] = column
        self.decisions = tuple(decisions)
        self._inside = self._decisions_inside_branches()

    def _decisions_inside_branches(self) -> list[tuple[int, list[int]]]:
        """Return for each branch its decision, and those that say nothing where it is left out."""
        graph, elastic = self.network.graph, self.elastic
        users = {t.name: {n.name for n in graph.users[t.name]} for t in graph.tensors}
        found = []
        for i, branch in enumerate(elastic.branches):
            inside = [
                self._column["width", g]
                for g, group in enumerate(elastic.sliced.groups)
                if ("width", g) in self._column and all(users[name] <= branch.nodes for name in group.layers)
            ]
            inside += [
                self._column["kernel", k]
                for k, kernel in enumerate(elastic.kernels)
                if users[kernel.weight] <= branch.nodes
            ]
            inside += [
                self._column["branch", j]
                for j, other in enumerate(elastic.branches)
                if j != i and other.addition in branch.nodes
            ]
            found.append((self._column["branch", i], inside))
        return found

    def _tabulate(self) -> None:
        """Enumerate the variants of every part: which candidate each combination of its decisions is."""
        index_of: dict[TracedBlock, int] = {}
        self._tables: list[tuple[list[int], NDArray[np.int64]]] = []
        original = np.zeros(len(self.decisions), dtype=np.int64)
        for part in self._parts:
            columns = [*self.resolutions.columns, *self._columns_of(part)]
            sizes = [len(self.decisions[c].choices) for c in columns]
            table = np.empty(sizes, dtype=np.int64)
            seen: dict[tuple[int, ...], int] = {}
            of_all = self.resolutions.parts(part)
            for choices in product(*map(range, sizes)):
                row = original.copy()
                row[columns] = choices
                form = tuple(self._canonical_row(row)[columns].tolist())
                if form not in seen:
                    architecture = tuple(row.tolist())
                    sliced = of_all[self.resolutions.chosen(architecture)]
                    block = self._variant(sliced, Part(graph=sliced.graph), self.kept(architecture))
                    seen[form] = index_of.setdefault(block, len(index_of))
                table[choices] = seen[form]
            self._tables.append((columns, table))
        self.candidates: tuple[Block, ...] = tuple(index_of)
        self.segments = (Segment(decisions=range(len(self.decisions)), slots=range(len(self._tables))),)

    def _columns_of(self, part: Part) -> list[int]:
        return self._columns(self._groups_in(part), self._branches_in(part), self._kernels_in(part))

    def _columns(self, groups: Iterable[int], branches: Iterable[int], kernels: Iterable[int]) -> list[int]:
        """Return the columns of the decisions on those; groups of one width have none."""
        columns = [self._column[key] for g in groups if (key := ("width", g)) in self._column]
        columns += [self._column["branch", b] for b in branches]
        columns += [self._column["kernel", k] for k in kernels]
        return sorted(columns)

    def columns_of_node(self, name: str) -> list[int]:
        """Return the columns of the decisions that the cost of a node depends on."""
        node = self.network.graph.by_name[name]
        tensors = tuple(t for t in self.network.graph.tensors if t.name in node.inputs)
        inputs = tuple((n, self.network.graph.shape_of(n)) for n in node.inputs if n not in self.network.graph.tensor)
        alone = Part(graph=Graph(inputs=inputs, tensors=tensors, nodes=(node,), output=name))
        branches = [b for b, own in enumerate(self.elastic.branches) if name in own.nodes]
        return self._columns(self._found_groups(alone), branches, self._kernels_in(alone))

    def _variant(self, sliced: SlicedGraph, part: Part, kept: Kept) -> TracedBlock:
        out = [b for b in self.elastic.branches if b.addition in kept.left_out and part.nodes <= b.nodes]
        if out:
            first = part.graph.inputs[0]
            return TracedBlock(Graph(inputs=(first,), tensors=(), nodes=(), output=first[0]))
        inside = {name: source for name, source in kept.left_out.items() if name in part.nodes}
        graph = subgraph(sliced, replace(kept, left_out=inside))
        taken = {name for node in graph.nodes for name in node.inputs} | {graph.output}
        graph = replace(graph, inputs=tuple((n, s) for n, s in graph.inputs if n in taken))
        return TracedBlock(canonical_graph(graph))

    def kept(self, architecture: Architecture) -> Kept:
        """Return what an architecture keeps of the network."""
        elastic = self.elastic
        units = np.ones(elastic.sliced.num_units, dtype=np.bool_)
        for g, ranks in enumerate(elastic.ranks):
            column = self._column.get(("width", g))
            if column is not None:
                units[list(ranks[elastic.widths[g][architecture[column]] :])] = False
        return Kept(
            units=units,
            left_out={
                b.addition: b.source
                for i, b in enumerate(elastic.branches)
                if architecture[self._column["branch", i]] == 1
            },
            kernels={
                k.weight: k.sizes[choice]
                for i, k in enumerate(elastic.kernels)
                if (choice := architecture[self._column["kernel", i]])
            },
        )

    def slice_of(self, architecture: Architecture) -> Slice:
        """Return a network, up to its scores, as a slice of the one that was brought."""
        chosen = self.validated(architecture)
        found = slice_of(self.resolutions.sliced(chosen), self.kept(chosen))
        return replace(found, graph=scoring(found.graph))

    def input_size(self, architecture: Architecture) -> ImageSize:
        """Return the architecture's resolution."""
        return self.resolutions.size(architecture)

    def block_indices(self, architectures: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return indices into `candidates`, [num_architectures, num_slots]: a slot for each part."""
        columns = [
            table[tuple(architectures[:, c] for c in own)] if own else np.full(len(architectures), int(table))
            for own, table in self._tables
        ]
        return np.stack(columns, axis=1)

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the form in which decisions within branches that are left out take their first choice."""
        return tuple(self._canonical_row(np.array(self.validated(architecture))).tolist())

    def _canonical_row(self, row: NDArray[np.int64]) -> NDArray[np.int64]:
        form = row.copy()
        for column, inside in self._inside:
            if form[column] == 1:
                form[inside] = 0
        return form

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return an architecture of uniform widths and kernels that keeps most residual branches."""
        return tuple(self.sample_many(1, rng)[0].tolist())

    def sample_many(self, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return several, [num, num_decisions]."""
        drawn = rng.integers([len(d.choices) for d in self.decisions], size=(num, len(self.decisions)))
        for i in range(len(self.elastic.branches)):
            drawn[:, self._column["branch", i]] = rng.random(num) >= KEPT_SHARE
        return drawn

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are measured, one for each slot."""
        return tuple(self._parts)

    @property
    def ending(self) -> Ending | None:
        """Return what the network that was brought ends in behind its scores."""
        return ending_of(self.network.graph)

    @property
    def original(self) -> Architecture:
        """The network as it was brought."""
        return (0,) * len(self.decisions)

    def scaled_alike(self) -> list[Architecture]:
        """Return the networks whose every width is as near to one share of the original's as it gets, widest first."""
        columns = {column: self.elastic.widths[n] for (kind, n), column in self._column.items() if kind == "width"}
        row, found = list(self.original), [self.original]
        for column in steps_alike(columns):
            row[column] += 1
            found.append(tuple(row))
        return found

    def build(self, architecture: Architecture) -> nn.Sequential:
        """Return the network on its own, freshly initialised, as the last child."""
        slice_ = self.slice_of(architecture)
        values = slice_.values(self.network.values)
        untrained = {tensor.name: values[tensor.name] for tensor in slice_.graph.tensors if not tensor.is_trained}
        network = GraphNetwork(slice_.graph, untrained)
        fill(network)
        return nn.Sequential(*self.resolutions.before(architecture), network)

    def supernet(self) -> TracedSupernet:
        """Return the network as it was brought, of which every architecture is a slice."""
        return TracedSupernet(self)


def _checked(ranks: tuple[tuple[int, ...], ...], sliced: SlicedGraph) -> tuple[tuple[int, ...], ...]:
    """Return the ranks, once they prove to be of these groups."""
    if [sorted(own) for own in ranks] != [sorted(group.units) for group in sliced.groups]:
        raise ValueError("its channels are ranked in other groups than they are tied in")
    return ranks


def _is_held(graph: Graph, branch: Branch, pins: Pins) -> bool:
    """Return whether a branch has to be kept: it, or a layer in it, stays as it is."""
    tensors = {name for node in branch.nodes for name in graph.by_name[node].inputs if name in graph.tensor}
    return pins.holds(branch.name) or any(map(pins.holds, tensors))
