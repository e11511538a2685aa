"""NAS-Bench-201's search space (Dong and Yang 2020, NAS-Bench-201: Extending the Scope of Reproducible NAS)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.blocks.cell_operations import AvgPool3x3, NodeAddition, NormHead, ReluConvBn, ResidualStride
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.skip import Skip
from search_spaces.space import Decision, SearchSpace, Segment, SpaceSpec
from search_spaces.supernet import Supernet, require_choices

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""As the benchmark names them."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""From node, to node, in the order of the decisions and of the benchmark's strings."""

CELLS = 5
"""Per stage, all alike; three stages."""

MOST_ADDITIONS = 3
"""In a cell: one less than the edges that reach a node, at each of the three."""

_NONE, _SKIP, _CONV1, _CONV3, _POOL = range(5)

_TRADED = (1, 0, 2, 3, 5, 4)
"""The edge that each edge becomes where nodes 1 and 2 trade places."""

_PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
"""The edges of every way from a cell's input to its output."""

_NUM_COMPUTING = 3
"""Operations that compute something: two convolutions and pooling."""

_NUM_SEQUENCES = sum(_NUM_COMPUTING**length for length in range(4))
"""Sequences of up to three such operations, the empty one among them."""


class NasBench201(SearchSpace):
    """Cells of 4 nodes and 6 edges, one operation of 5 on each; 3 stages of 5 equal cells.

    Blocks are the operations on the edges, and the additions at the nodes that no convolution takes in, not the 15,625
    cells, so that a table needs sixteen entries. Operations that nothing reaches, or that reach nothing, are left out,
    and so is what has been computed before.
    """

    is_chain = False

    def __init__(self, spec: SpaceSpec) -> None:
        self.spec = spec
        self.decisions = tuple(Decision(name=f"edge{a}{b}", choices=OPERATIONS) for a, b in EDGES)
        channels, size = make_divisible(16 * spec.width), spec.side
        stem = ConvBnAct(in_channels=spec.in_channels, out_channels=channels, input_size=size, kernel=3, act="none")
        blocks: list[Block] = [stem]
        self._operations: list[list[int]] = []  # of each stage, candidate by operation
        self._additions: list[list[int]] = []  # of each stage, candidate by whether there is one
        self._between: list[int] = []
        for stage in range(3):
            shape = {"in_channels": channels, "out_channels": channels, "input_size": size}
            identity = Skip(**shape)
            operations = [
                identity,
                identity,
                ReluConvBn(**shape, kernel=1),
                ReluConvBn(**shape, kernel=3),
                AvgPool3x3(**shape),
            ]
            self._operations.append([_index(blocks, b) for b in operations])
            self._additions.append([_index(blocks, b) for b in (identity, NodeAddition(**shape))])
            if stage < 2:
                reduction = ResidualStride(in_channels=channels, out_channels=2 * channels, input_size=size, stride=2)
                self._between.append(_index(blocks, reduction))
                channels, size = reduction.out_channels, reduction.output_size
        head = NormHead(in_channels=channels, out_channels=spec.num_classes, input_size=size)
        self._head = _index(blocks, head)
        self.candidates = tuple(blocks)
        per_stage = CELLS * (len(EDGES) + MOST_ADDITIONS)
        self.segments = (Segment(decisions=range(len(EDGES)), slots=range(1, 1 + 3 * per_stage + 2)),)

    def block_indices(self, architectures: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return indices into `candidates`, [num_architectures, num_slots].

        Every edge of every cell and every addition there may be, identities included.
        """
        left = [_left_operations(_used(tuple(row))) for row in architectures.tolist()]
        on_edges = np.array([kept for kept, _ in left], dtype=np.int64).reshape(-1, len(EDGES))
        num_additions = np.array([added for _, added in left], dtype=np.int64)
        num = len(architectures)
        columns = [np.zeros((num, 1), dtype=np.int64)]
        for stage, operations in enumerate(self._operations):
            is_added = np.arange(MOST_ADDITIONS) < num_additions[:, None]
            cell = np.concatenate(
                [np.array(operations)[on_edges], np.array(self._additions[stage])[is_added.astype(np.int64)]], axis=1
            )
            columns += [cell] * CELLS
            if stage < 2:
                columns.append(np.full((num, 1), self._between[stage]))
        columns.append(np.full((num, 1), self._head))
        return np.concatenate(columns, axis=1)

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the form with operations without effect as none; of forms of one graph, the first in lexical order.

        Nodes 1 and 2 trade places where no edge joins them.
        """
        form = _used(self.validated(architecture))
        return tuple(form[edge] for edge in _order(form))

    def paths(self, architectures: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which sequences of convolutions and pooling lead from a cell's input to its output.

        The path encoding of White et al. (2021, BANANAS), where identities are left out of the sequences: paths that
        compute the same are the same.
        """
        choices = np.asarray(architectures)
        counts = np.zeros((len(choices), _NUM_SEQUENCES), dtype=np.int64)
        for edges in _PATHS:
            # A sequence's number in a base of the operations, whose digits go from 1 on: no two have the same.
            sequence = np.zeros(len(choices), dtype=np.int64)
            for edge in edges:
                choice = choices[:, edge]
                sequence = np.where(choice > _SKIP, sequence * _NUM_COMPUTING + choice - _SKIP, sequence)
            is_whole = (choices[:, edges] != _NONE).all(axis=1)
            np.add.at(counts, (np.flatnonzero(is_whole), sequence[is_whole]), 1)
        return np.concatenate([counts >= times for times in range(1, len(_PATHS) + 1)], axis=1)

    def depends_on_input(self, architecture: Architecture) -> bool:
        """Return whether any path leads through the cells."""
        return any(choice != _NONE for choice in _used(self.validated(architecture)))

    def build(self, architecture: Architecture) -> nn.Sequential:
        """Return the network on its own.

        Its children are the stem, the cells, the blocks between stages, and the head.
        """
        form = _used(self.validated(architecture))
        return nn.Sequential(*self._modules(lambda stage: _Cell(self._edge_modules(stage, form), form)))

    def supernet(self) -> CellSupernet:
        """Return a supernet with weights of every operation on every edge of every cell."""
        return CellSupernet(self)

    def _modules(self, make_cell) -> list[nn.Module]:  # type: ignore[no-untyped-def]
        modules = [self.candidates[0].build()]
        for stage in range(3):
            modules += [make_cell(stage) for _ in range(CELLS)]
            if stage < 2:
                modules.append(self.candidates[self._between[stage]].build())
        return [*modules, self.candidates[self._head].build()]

    def _edge_modules(self, stage: int, form: Sequence[int]) -> dict[str, nn.Module]:
        return {
            f"{edge}_{OPERATIONS[choice]}": self.candidates[self._operations[stage][choice]].build()
            for edge, choice in enumerate(form)
            if choice not in (_NONE, _SKIP)
        }

    @staticmethod
    def parse(text: str) -> Architecture:
        """Return the architecture of a benchmark string such as `|nor_conv_3x3~0|+|...`."""
        names = [part.split("~")[0] for part in text.replace("+", "").split("|") if part]
        return tuple(OPERATIONS.index(name) for name in names)


class CellSupernet(Supernet):
    """Every operation on every edge of every cell has weights of its own."""

    def __init__(self, space: NasBench201) -> None:
        super().__init__()
        every = {f"{edge}_{OPERATIONS[choice]}" for edge in range(len(EDGES)) for choice in (_CONV1, _CONV3, _POOL)}

        def make_cell(stage: int) -> nn.Module:
            modules = {}
            for name in sorted(every):
                operation = OPERATIONS.index(name.partition("_")[2])
                modules[name] = space.candidates[space._operations[stage][operation]].build()
            return nn.ModuleDict(modules)

        self.parts = nn.ModuleList(space._modules(make_cell))

    def path(self, architecture: Architecture) -> list[nn.Module]:
        require_choices(architecture, [len(OPERATIONS)] * len(EDGES))
        form = _used(architecture)
        names = [f"{edge}_{OPERATIONS[c]}" for edge, c in enumerate(form) if c not in (_NONE, _SKIP)]
        return [
            _Cell({name: part[name] for name in names}, form) if isinstance(part, nn.ModuleDict) else part
            for part in self.parts
        ]

    def forward(self, x_NCHW: torch.Tensor, architecture: Architecture) -> torch.Tensor:
        x = x_NCHW
        for module in self.path(architecture):
            x = module(x)
        return x


class _Cell(nn.Module):
    """Operations by edge; a node is the sum of what reaches it, added in the order of the canonical form."""

    def __init__(self, modules: dict[str, nn.Module], form: Sequence[int]) -> None:
        super().__init__()
        self.operations = nn.ModuleDict(modules)
        self.form = tuple(form)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        nodes: list[torch.Tensor | None] = [x_NCHW, None, None, None]
        for edge in _order(self.form):
            (source, target), choice = EDGES[edge], self.form[edge]
            value = nodes[source]
            if choice == _NONE or value is None:
                continue
            if choice != _SKIP:
                value = self.operations[f"{edge}_{OPERATIONS[choice]}"](value)
            before = nodes[target]
            nodes[target] = value if before is None else before + value
        return nodes[3] if nodes[3] is not None else torch.zeros_like(x_NCHW)


@lru_cache(maxsize=5**6)
def _left_operations(used: Architecture) -> tuple[Architecture, int]:
    """Return the operations on the edges, and the number of additions, that a runtime is left with in a cell."""
    order = _order(used)
    kept, num_additions = _left_of_canonical(tuple(used[edge] for edge in order))
    return tuple(kept[edge] for edge in order), num_additions  # traded twice, edges are where they were


def _left_of_canonical(used: Architecture) -> tuple[Architecture, int]:
    """Return the same for a canonical form, which is added up edge by edge.

    Runtimes compute what is equal once: poolings of one tensor, of which all but the first become identities, and
    sums of the same two. They add within a convolution whose result goes nowhere else, in one pass. A test compares
    with ONNX Runtime's own graphs.
    """
    nodes: list[object] = ["input", None, None, None]
    computed: set[object] = set()
    kept, num_additions = list(used), 0
    for edge, ((source, target), choice) in enumerate(zip(EDGES, used, strict=True)):
        if choice == _NONE:
            continue
        before, term = nodes[target], nodes[source]
        if choice == _POOL:
            term = ("pool", term)
            kept[edge] = _SKIP if term in computed else _POOL
        elif choice != _SKIP:
            term = ("convolution", edge)
        computed.add(term)
        nodes[target] = term if before is None else ("sum", before, term)
        if before is not None and nodes[target] not in computed:
            computed.add(nodes[target])
            num_additions += not _is_added_within_convolution(used, edge)
    return tuple(kept), num_additions


def _is_added_within_convolution(used: Architecture, edge: int) -> bool:
    """Return whether an edge brings a convolution's result to a node, or the only thing before it was one."""
    before = [e for e in _edges_to(used, EDGES[edge][1]) if e < edge]
    return _is_convolution(used, edge) or (len(before) == 1 and _is_convolution(used, before[0]))


def _is_convolution(used: Architecture, edge: int) -> bool:
    """Return whether an edge brings the result of a convolution that nothing else reads."""
    if used[edge] != _SKIP:
        return used[edge] in (_CONV1, _CONV3)
    source = EDGES[edge][0]
    before = _edges_to(used, source)
    after = [e for e, choice in enumerate(used) if choice != _NONE and EDGES[e][0] == source]
    return after == [edge] and len(before) == 1 and _is_convolution(used, before[0])


def _edges_to(used: Architecture, node: int) -> list[int]:
    return [e for e, choice in enumerate(used) if choice != _NONE and EDGES[e][1] == node]


def _index(blocks: list[Block], block: Block) -> int:
    if block not in blocks:
        blocks.append(block)
    return blocks.index(block)


def _order(used: Architecture) -> tuple[int, ...]:
    """Return the edges in the order that they have in the canonical form of a cell.

    Nodes add up in that order: which addition becomes part of a convolution depends on it, and so do the last bits.
    """
    is_traded = used[2] == _NONE and tuple(used[edge] for edge in _TRADED) < used  # no edge joins nodes 1 and 2
    return _TRADED if is_traded else tuple(range(len(EDGES)))


@lru_cache(maxsize=5**6)
def _used(architecture: Architecture) -> Architecture:
    """Return the operations without effect as none: those that the input does not reach or the output does not see."""
    reached, seen = {0}, {3}
    for (source, target), choice in zip(EDGES, architecture, strict=True):
        if choice != _NONE and source in reached:
            reached.add(target)
    for (source, target), choice in reversed(list(zip(EDGES, architecture, strict=True))):
        if choice != _NONE and target in seen:
            seen.add(source)
    return tuple(
        int(choice) if source in reached and target in seen else _NONE
        for (source, target), choice in zip(EDGES, architecture, strict=True)
    )


def every_cell() -> list[Architecture]:
    """Return all 15,625 choices of operations."""
    return list(product(range(len(OPERATIONS)), repeat=len(EDGES)))
