"""Layout conversions that blocks need alone and networks do not.

ONNX Runtime computes float convolutions in a blocked layout (NCHWc). A block timed alone converts its input and its
output, and cannot fold a residual addition into a convolution; in a network all of this vanishes where the neighbours
are blocked too, and stays where one is not, such as a convolution of a few channels a group. What a block converts
depends on the layout it is given, and what it gives on what it does: a network is a walk through two states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from lut.provenance import STRICT
from search_spaces import Block, SearchSpace
from search_spaces.wiring import IMAGE

TO_BLOCKED = "ReorderInput"
TO_PLAIN = "ReorderOutput"
"""ONNX Runtime's names for the conversions to the blocked and to the plain layout."""


_Change = Annotated[int, Field(gt=-(2**53), lt=2**53)]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Transition:
    """The differences of a block in a network from the block alone, for one layout of its input.

    Attributes:
        nodes: operations more than alone; below zero where some vanish.
        elements: tensor elements that those operations move, per image, with the same sign.
        gives_blocked: whether its output is in the blocked layout.
    """

    nodes: _Change
    elements: _Change
    gives_blocked: bool


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class BlockLayout:
    """A block's transitions after a plain and after a blocked input."""

    after_plain: Transition
    after_blocked: Transition


def block_layout(block: Block, operations: Sequence[str]) -> BlockLayout:
    """Return what the block's conversions become in a network.

    Args:
        operations: of the optimised graph of the block alone, in the order they run.
    """
    num_in, num_out = sum(map(prod, block.input_shapes)), prod(block.output_shape)
    takes_blocked = bool(operations) and operations[0] == TO_BLOCKED
    # A blocked input spares the first conversion, or has to be converted for a block that begins plain.
    nodes, elements = (-1, -num_in) if takes_blocked else (1, num_in)
    if operations and operations[-1] == TO_PLAIN:
        return BlockLayout(
            after_plain=Transition(nodes=-1, elements=-num_out, gives_blocked=True),
            after_blocked=Transition(nodes=nodes - 1, elements=elements - num_out, gives_blocked=True),
        )
    unchanged = Transition(nodes=0, elements=0, gives_blocked=False)
    if takes_blocked and [name for name in operations if name != "Resize"][-2:] == [TO_PLAIN, "Add"]:
        # With its input blocked the residual, resized or not, is added within the last convolution.
        fused = Transition(nodes=nodes - 2, elements=elements - 2 * num_out, gives_blocked=True)
        return BlockLayout(after_plain=unchanged, after_blocked=fused)
    converts_nothing = TO_BLOCKED not in operations and TO_PLAIN not in operations
    if converts_nothing and not any("Conv" in name for name in operations):
        # Poolings and the like take what they are given.
        kept = Transition(nodes=0, elements=0, gives_blocked=True)
        return BlockLayout(after_plain=unchanged, after_blocked=kept)
    return BlockLayout(
        after_plain=unchanged, after_blocked=Transition(nodes=nodes, elements=elements, gives_blocked=False)
    )


class LayoutWalk:
    """Layout conversions of whole networks, vectorised over architectures.

    Args:
        layouts: by block key; blocks without one are taken to convert nothing and to give the plain layout.
    """

    def __init__(self, space: SearchSpace, layouts: Mapping[str, BlockLayout]) -> None:
        self._space = space
        num = len(space.candidates)
        # Row s of each holds what happens after layout s, 0 plain and 1 blocked.
        self.nodes, self.elements = np.zeros((2, num)), np.zeros((2, num))
        self.gives = np.zeros((2, num), dtype=np.int64)
        for i, block in enumerate(space.candidates):
            layout = layouts.get(block.key)
            if block.is_identity:
                self.gives[1, i] = 1
            elif layout is not None:
                for state, transition in enumerate((layout.after_plain, layout.after_blocked)):
                    self.nodes[state, i] = transition.nodes
                    self.elements[state, i] = transition.elements
                    self.gives[state, i] = transition.gives_blocked

    def total(self, values: NDArray[np.float64], architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Sum a value per candidate and layout of its input over each network's blocks.

        Args:
            values: [2, num_candidates] after a plain and after a blocked input.
            architectures: [num_architectures, num_decisions] choice indices.

        Returns:
            [num_architectures] sums.
        """
        sums = np.empty(len(architectures))
        by_state, gives = values.T.ravel(), self.gives.T.ravel()
        for start in range(0, len(architectures), _CHUNK):
            indices = 2 * self._space.block_indices(architectures[start : start + _CHUNK])
            part = np.zeros(len(indices))
            states = {IMAGE: np.zeros(len(indices), dtype=np.int64)}
            for slot, column in enumerate(indices.T):
                place = column + states[self._source(slot)]
                part += by_state.take(place)
                states[slot] = gives.take(place)
            sums[start : start + _CHUNK] = part
        return sums

    def _source(self, slot: int) -> int:
        """Return where a slot's first input is from, whose layout stands for that of all of them."""
        wiring = self._space.wiring
        return slot - 1 if wiring is None else wiring.sources[slot][0]

    def changes(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the operations and elements that networks have more than their blocks, [num_architectures, 2]."""
        return np.stack([self.total(v, architectures) for v in (self.nodes, self.elements)], axis=1)


_CHUNK = 1 << 15
"""Architectures at a time, so that indices stay in the cache."""
