"""Search spaces that are a chain: fixed stem, layers with candidate blocks, fixed head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.errors import SpaceError
from search_spaces.space import Decision, SearchSpace, Segment, SpaceSpec
from search_spaces.supernet import ChoiceSupernet


class ChainSpace(SearchSpace):
    """One decision per layer: which of its candidate blocks stands there.

    Args:
        spec: what is needed to make the space again.
        stem: fixed blocks before the layers.
        layers: the candidate blocks of each searchable layer.
        choice_names: a short name per candidate, the same for every layer; layers of fewer candidates lack the last.
        head: fixed blocks after the layers.

    Raises:
        SpaceError: shapes of neighbouring blocks do not fit, or a layer has no candidates or more than names.
    """

    def __init__(
        self,
        spec: SpaceSpec,
        *,
        stem: Sequence[Block],
        layers: Sequence[Sequence[Block]],
        choice_names: Sequence[str],
        head: Sequence[Block],
    ) -> None:
        if not layers or not all(1 <= len(layer) <= len(choice_names) for layer in layers):
            raise SpaceError(
                f"expected layers of 1 to {len(choice_names)} candidates, as many as names of choices, found "
                f"{[len(layer) for layer in layers] or 'none'}"
            )
        self.spec = spec
        self.slots = ([[b] for b in stem], [list(layer) for layer in layers], [[b] for b in head])
        self.decisions = tuple(
            Decision(name=f"layer{i}", choices=tuple(choice_names[: len(layer)]))
            for i, layer in enumerate(layers, start=1)
        )
        _require_fitting_shapes([slot for part in self.slots for slot in part])
        index_of: dict[Block, int] = {}
        fixed_before, free, fixed_after = (
            [[index_of.setdefault(b, len(index_of)) for b in slot] for slot in part] for part in self.slots
        )
        self.candidates = tuple(index_of)
        self._stem_indices = np.array([i for slot in fixed_before for i in slot], dtype=np.int64)
        # Layers of fewer candidates are filled up with what no architecture chooses.
        most = max(len(layer) for layer in free)
        self._layer_indices = np.array([layer + layer[:1] * (most - len(layer)) for layer in free])
        self._head_indices = np.array([i for slot in fixed_after for i in slot], dtype=np.int64)
        first_slot = len(stem)
        self.segments = tuple(
            Segment(decisions=range(i, i + 1), slots=range(first_slot + i, first_slot + i + 1))
            for i in range(len(layers))
        )
        identities = frozenset(i for i, block in enumerate(self.candidates) if block.is_identity)
        self._runs = _interchangeable_runs(free, identities)

    def block_indices(self, architectures: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return indices into `candidates`, [num_architectures, num_slots]."""
        num = len(architectures)
        chosen = self._layer_indices[np.arange(len(self.decisions)), architectures]
        stem, head = (np.broadcast_to(fixed, (num, len(fixed))) for fixed in (self._stem_indices, self._head_indices))
        return np.concatenate([stem, chosen, head], axis=1)

    def block_sum(self, values: NDArray[np.float64], architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Sum in one pass per layer over small tables, which stay in the first-level cache."""
        per_layer = values[self._layer_indices]
        sums = np.full(len(architectures), values[self._stem_indices].sum() + values[self._head_indices].sum())
        for table, choices in zip(per_layer, np.asarray(architectures).T, strict=True):
            sums += table.take(choices)
        return sums

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the form in which identities end each run of layers that have the same candidates."""
        form = list(self.validated(architecture))
        for start, stop, identity in self._runs:
            kept = [choice for choice in form[start:stop] if choice != identity]
            form[start:stop] = kept + [identity] * (stop - start - len(kept))
        return tuple(form)

    def supernet(self) -> ChoiceSupernet:
        """Return a supernet with separate weights for every candidate of every layer."""
        return ChoiceSupernet(*([[b.build() for b in slot] for slot in part] for part in self.slots))


def _require_fitting_shapes(slots: Sequence[Sequence[Block]]) -> None:
    for before, after in pairwise(slots):
        outputs = {(b.output_shape,) for b in before}
        inputs = {b.input_shapes for b in after}
        if len(outputs | inputs) != 1:
            raise SpaceError(f"blocks do not fit: {before[0].key} gives {outputs}, {after[0].key} takes {inputs}")


def _interchangeable_runs(layers: list[list[int]], identities: frozenset[int]) -> list[tuple[int, int, int]]:
    """Start, stop and identity choice of each run of layers with equal candidates, where one of them is an identity."""
    runs = []
    for candidates, run in groupby(range(len(layers)), key=lambda i: layers[i]):
        positions = list(run)
        for choice, candidate in enumerate(candidates):
            if candidate in identities:
                runs.append((positions[0], positions[-1] + 1, choice))
    return runs
