"""Where a chain of blocks is tapped: the last block of each of its resolutions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from search_spaces.block import Shape
from search_spaces.errors import SpaceError
from search_spaces.overview import variants
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class Tap:
    """A slot of a chain whose output other blocks take too.

    Attributes:
        slot: its position.
        shape: channels, height and width of its output.
        stride: pixels of the image a side that a pixel of the output stands for.
    """

    slot: int
    shape: Shape
    stride: int


def num_kept_slots(chain: SearchSpace) -> int:
    """Return how many slots are left of a chain without its end: the fixed blocks behind the last searchable one."""
    return max((segment.slots.stop for segment in chain.segments), default=0)


def candidates_of_slots(chain: SearchSpace) -> list[set[int]]:
    """Return which candidates stand in each slot of some architecture."""
    found: list[set[int]] = []
    for rows in variants(chain):
        indices = chain.block_indices(rows)
        found = found or [set() for _ in range(indices.shape[1])]
        for own, column in zip(found, indices.T, strict=True):
            own.update(np.unique(column).tolist())
    return found


def find_taps(chain: SearchSpace, slots: list[set[int]]) -> list[Tap]:
    """Return the last slot of each resolution, in network order.

    Args:
        slots: the candidates of every slot that is left of the chain.

    Raises:
        SpaceError: a block gives no feature map, or those of one slot give different ones.
    """
    height, width = chain.spec.input_shape[1:]
    found, stride = [], 1
    for slot, candidates in enumerate(slots):
        shape = _shape_of(chain, candidates)
        stride *= max(-(-height // shape[1]), -(-width // shape[2]))
        height, width = shape[1:]
        found.append(Tap(slot=slot, shape=shape, stride=stride))
    return [list(run)[-1] for _, run in groupby(found, key=lambda tap: tap.shape[1:])]


def _shape_of(chain: SearchSpace, candidates: set[int]) -> Shape:
    shapes = {chain.candidates[i].output_shape for i in candidates}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise SpaceError(
            f"{chain.spec.name}: expected feature maps of one shape [channels, height, width] behind every layer, for "
            f"a head to take, found {', '.join(map(str, sorted(shapes)))}; give another space"
        )
    return next(iter(shapes))
