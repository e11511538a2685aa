"""Splitting models that do not fit in memory together into groups that share anchor models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

NUM_ANCHORS = 8
"""Models that are in every group, to tell what differs between the moments at which groups are measured."""

BYTES_PER_FILE_BYTE = 2.5
"""An opened session's memory per byte of its file: weights are held packed beside the originals."""

SESSION_BYTES = 2 << 20
"""The bytes that an opened session takes besides its weights: graph, arena, activations of a small block."""


def split_into_groups(file_sizes: Sequence[int], *, memory_mb: float | None = None) -> list[list[int]]:
    """Indices of the models of each group; one group with all of them where they fit.

    Args:
        file_sizes: bytes of each model's file.
        memory_mb: what opened models may take together; None for half of what the machine has available.
    """
    limit = memory_mb * 2**20 if memory_mb is not None else 0.5 * _available_bytes()
    needs = [estimate_bytes(size) for size in file_sizes]
    if sum(needs) <= limit:
        return [list(range(len(needs)))]
    anchors, left = _anchors_and_others(needs)
    room = max(limit - sum(needs[i] for i in anchors), max(needs[i] for i in left))
    return _dealt(anchors, left, math.ceil(sum(needs[i] for i in left) / room))


def share_out(file_sizes: Sequence[int], num: int) -> list[list[int]]:
    """Indices of the models of each of `num` shares, or fewer where there are not so many models."""
    anchors, left = _anchors_and_others([float(size) for size in file_sizes])
    return _dealt(anchors, left, max(1, min(num, len(left))))


def _anchors_and_others(needs: Sequence[float]) -> tuple[list[int], list[int]]:
    """Both by size; anchors from the smaller half, since they cost memory in every group."""
    by_size = sorted(range(len(needs)), key=lambda i: needs[i])
    step = max(1, len(by_size) // (2 * NUM_ANCHORS))
    anchors = by_size[: len(by_size) // 2 : step][:NUM_ANCHORS]
    return anchors, [i for i in by_size if i not in anchors]


def _dealt(anchors: list[int], others: list[int], num: int) -> list[list[int]]:
    """Dealt out by size, so that every group is a mixture of small and large models."""
    return [sorted(anchors + others[number::num]) for number in range(num)]


def estimate_bytes(file_size: int) -> float:
    """Rough memory of an opened model whose file has that many bytes."""
    return SESSION_BYTES + BYTES_PER_FILE_BYTE * file_size


def _available_bytes() -> float:
    """Memory that can still be used; infinite where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    except (OSError, ValueError):
        pass
    return math.inf
