"""A level of a simulated cache: sets that data falls on unevenly, each neither least recently used nor random."""

from __future__ import annotations

import random
from bisect import bisect
from statistics import NormalDist

MAX_SETS = 8
LEAST_CHUNKS = 8
"""Sets of a level, fewer where they would not hold so many chunks."""

UNEVENNESS = 0.25
"""Standard deviation of what falls on a set, relative to its share: the system draws the pages that data lies in, so
that of sets of 16 ways some get 12 pages and others 20."""

GOLDEN = 0.6180339887498949
"""Multiples of it, less whole numbers, are spread evenly."""


class CacheSet:
    """What one set holds. Evicts any chunk with some probability, else the least recently used."""

    def __init__(self, size_bytes: float, random_eviction: float, luck: random.Random) -> None:
        self._free = size_bytes
        self._random_eviction = random_eviction
        self._luck = luck
        self._held: dict[int, int] = {}  # bytes by chunk, least recently used first
        self._slots: list[int] = []  # the same chunks in no order, to draw one
        self._slot_of: dict[int, int] = {}

    def touch(self, chunk: int, size: int) -> bool:
        """Whether the chunk is there; it is afterwards."""
        held = self._held
        if chunk in held:
            held[chunk] = held.pop(chunk)
            return True
        slots, slot_of, draw = self._slots, self._slot_of, self._luck.random
        free = self._free - size
        while free < 0 and held:
            victim = slots[int(draw() * len(slots))] if draw() < self._random_eviction else next(iter(held))
            free += held.pop(victim)
            slot, last = slot_of.pop(victim), slots.pop()
            if last != victim:
                slots[slot] = last
                slot_of[last] = slot
        self._free = free
        held[chunk] = size
        slot_of[chunk] = len(slots)
        slots.append(chunk)
        return False


Level = tuple[list[float], list[CacheSet]]
"""Where the shares of the sets end, in what falls on the level, and the sets."""


def cache_sets(size_bytes: int, random_eviction: float, luck: random.Random, *, chunk: int) -> Level:
    """An empty level whose data comes in chunks of so many bytes."""
    num = max(1, min(MAX_SETS, size_bytes // (LEAST_CHUNKS * chunk)))
    shares = [1 + UNEVENNESS * NormalDist().inv_cdf((i + 0.5) / num) for i in range(num)]
    ends = [sum(shares[: i + 1]) / sum(shares) for i in range(num)]
    return ends[:-1], [CacheSet(size_bytes / num, random_eviction, luck) for _ in range(num)]


def home(chunk: int, level: Level) -> CacheSet:
    """The set that a chunk falls on."""
    ends, sets = level
    return sets[bisect(ends, (chunk * GOLDEN) % 1.0)]
