"""The latency of a network of which some blocks are in int8, and the assignments that are best.

A network is a walk along its blocks: stretches of blocks in float, with int8 between them. What a stretch takes depends
on where it begins and ends, and not on its blocks alone: its input is dequantized and its output quantized, and a float
block after an int8 one gets the plain layout, in which a residual is not added within a convolution; ONNX Runtime's
blocked layout comes back some blocks later. So each stretch is measured in the network, with int8 on either side.
Stretches that int8 separates hardly know of each other: their times add up, but for a little that each further one
takes more or less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_BLOCKS = 60
"""Assignments are bits of a whole number."""

Stretch = tuple[int, int]
"""A stretch of blocks: the number of its first, and of the first after it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """An assignment of int8 to blocks, and what is expected of it.

    Attributes:
        precisions: for each block, whether it is in int8.
        ms: predicted.
        loss: the sum of its blocks' losses.
    """

    precisions: tuple[bool, ...]
    ms: float
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PrecisionWalk:
    """The latencies of a network's assignments of int8 to its blocks.

    Attributes:
        num_blocks: of the network.
        int8_ms: the latency with every block in int8.
        float_stretches_ms: how much more the network takes with one stretch of blocks in float, conversions included;
            below zero where it takes less.
        further_stretch_ms: what each stretch in float after the first takes besides.

    Raises:
        ValueError: a stretch is missing, there are too many blocks, or a latency is no finite number.
    """

    num_blocks: int
    int8_ms: float
    float_stretches_ms: Mapping[Stretch, float]
    further_stretch_ms: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.num_blocks <= MOST_BLOCKS:
            raise ValueError(f"expected 1 to {MOST_BLOCKS} blocks, got {self.num_blocks}")
        if missing := [stretch for stretch in stretches(self.num_blocks) if stretch not in self.float_stretches_ms]:
            raise ValueError(f"expected the latency of every stretch of blocks, {missing[0]} is missing")
        known = [self.int8_ms, self.further_stretch_ms, *self.float_stretches_ms.values()]
        if not np.isfinite(known).all():
            raise ValueError(f"expected latencies that are finite numbers, got {known}")

    def predict_ms(self, precisions: Sequence[bool]) -> float:
        """Return the latency of an assignment.

        Args:
            precisions: for each block, whether it is in int8.

        Raises:
            ValueError: it is of another number of blocks.
        """
        if len(precisions) != self.num_blocks:
            raise ValueError(f"expected the precisions of {self.num_blocks} blocks, got {[*precisions]}")
        in_float = float_stretches(precisions)
        further_ms = self.further_stretch_ms * max(0, len(in_float) - 1)
        return self.int8_ms + further_ms + sum(self.float_stretches_ms[stretch] for stretch in in_float)

    def front(self, losses: Sequence[float]) -> list[Assignment]:
        """Return the assignments that no other is as fast as and loses as little as, the fastest first.

        Goes along the blocks, and keeps of the ways that end in int8 at each place those that none is better than.

        Args:
            losses: what each block loses in int8, 0 or more; what a network loses is taken to be their sum.

        Raises:
            ValueError: the losses are of another number of blocks, below zero, or no finite numbers.
        """
        num = self.num_blocks
        if len(losses) != num or not all(0 <= loss < np.inf for loss in losses):  # no comparison keeps NaN out
            raise ValueError(f"expected {num} losses of 0 or more, got {[*losses]}")
        # ways[place]: some block before that place is in float, and the last one in int8. in_int8: all are in int8.
        ways, ends = [_NONE] * (num + 1), _NONE
        in_int8 = _Ways(np.array([self.int8_ms]), np.zeros(1), np.zeros(1, np.int64))
        for first in range(num):
            here = in_int8.best_with(ways[first].on(self.further_stretch_ms, 0.0, 0))
            for after in range(first + 1, num + 1):
                gone = here.on(self.float_stretches_ms[first, after], 0.0, 0)
                if after == num:
                    ends = ends.best_with(gone)
                else:
                    ways[after + 1] = ways[after + 1].best_with(gone.on(0.0, losses[after], 1 << after))
            ways[first + 1] = ways[first + 1].best_with(ways[first].on(0.0, losses[first], 1 << first))
            in_int8 = in_int8.on(0.0, losses[first], 1 << first)
        best = ends.best_with(ways[num]).best_with(in_int8)
        return [
            Assignment(precisions=tuple(bool(bits >> i & 1) for i in range(num)), ms=float(ms), loss=float(loss))
            for ms, loss, bits in zip(best.ms, best.loss, best.bits, strict=True)
        ]


def stretches(num_blocks: int) -> list[Stretch]:
    """Return every stretch of blocks, the whole network among them."""
    return [(first, after) for first in range(num_blocks) for after in range(first + 1, num_blocks + 1)]


def float_stretches(precisions: Sequence[bool]) -> list[Stretch]:
    """Return the stretches of an assignment that are in float, as long as they go."""
    found, first = [], None
    for number, is_int8 in enumerate([*precisions, True]):
        if not is_int8 and first is None:
            first = number
        elif is_int8 and first is not None:
            found.append((first, number))
            first = None
    return found


def with_stretch_in_float(stretch: Stretch, num_blocks: int) -> tuple[bool, ...]:
    """Return the assignment of int8 to all blocks but those of a stretch."""
    first, after = stretch
    return tuple(not first <= number < after for number in range(num_blocks))


def drawn(num_blocks: int, *, num: int, rng: np.random.Generator) -> list[tuple[bool, ...]]:
    """Return up to `num` random assignments, each once and of several stretches in float.

    There are fewer where there are no more.
    """
    if num_blocks <= 12:
        every = (np.arange(2**num_blocks)[:, None] >> np.arange(num_blocks)) & 1
        candidates = [tuple(row) for row in rng.permutation(every).astype(bool).tolist()]
        return [precisions for precisions in candidates if len(float_stretches(precisions)) > 1][:num]
    found: dict[tuple[bool, ...], None] = {}
    while len(found) < num:
        precisions = tuple((rng.random(num_blocks) < 0.5).tolist())
        if len(float_stretches(precisions)) > 1:
            found[precisions] = None
    return list(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Ways:
    """Ways to a place: what each takes, loses, and which blocks are in int8 on it."""

    ms: NDArray[np.float64]
    loss: NDArray[np.float64]
    bits: NDArray[np.int64]

    def on(self, ms: float, loss: float, bit: int) -> _Ways:
        """Return the same ways, some blocks longer."""
        return _Ways(self.ms + ms, self.loss + loss, self.bits | bit)

    def best_with(self, other: _Ways) -> _Ways:
        """Return those of both that none is better than, the fastest first."""
        ms, loss = np.concatenate([self.ms, other.ms]), np.concatenate([self.loss, other.loss])
        bits = np.concatenate([self.bits, other.bits])
        order = np.lexsort((bits, loss, ms))
        least_before = np.minimum.accumulate(np.concatenate([[np.inf], loss[order]]))[:-1]
        kept = order[loss[order] < least_before]
        return _Ways(ms[kept], loss[kept], bits[kept])


_NONE = _Ways(np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
