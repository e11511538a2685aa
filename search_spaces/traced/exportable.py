"""Operators that the exporter to ONNX lacks, made of others while a network is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from search_spaces.traced.graph import Node


def exportable(node: Node, args: Sequence[Any]) -> Callable[..., Any] | None:
    """Return what computes a node while a network is exported; None of operators that are exported as they are."""
    if node.kind == "adaptive_avg_pool2d" and not _divides(args[0], args[1]):
        return adaptive_avg_pool2d
    return OTHERS.get(node.kind)


def _divides(x: torch.Tensor, size: Sequence[int]) -> bool:
    return all(int(whole) % num == 0 for whole, num in zip(x.shape[-2:], size, strict=True))


def adaptive_avg_pool2d(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Return means over windows that are not all of one size, row by row and column by column."""
    for axis, num in zip((-2, -1), size, strict=True):
        whole = int(x.shape[axis])
        ends = [(i * whole // num, -(-(i + 1) * whole // num)) for i in range(num)]
        x = torch.cat([x.narrow(axis, start, end - start).mean(axis, keepdim=True) for start, end in ends], axis)
    return x


def select_scatter(x: torch.Tensor, source: torch.Tensor, axis: int, index: int) -> torch.Tensor:
    """Return a tensor with another at one place along an axis."""
    index %= x.shape[axis]
    return slice_scatter(x, source.unsqueeze(axis), axis, index, index + 1)


def slice_scatter(
    x: torch.Tensor,
    source: torch.Tensor,
    axis: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> torch.Tensor:
    """Return a tensor with another at some places along an axis."""
    size = int(x.shape[axis])
    first, last, _ = slice(start, end).indices(size)
    if step == 1:
        pieces = [x.narrow(axis, 0, first), source, x.narrow(axis, last, size - last)]
        return torch.cat([piece for piece in pieces if piece.shape[axis]], axis)
    places = torch.arange(size)
    taken = (places >= first) & (places < last) & ((places - first) % step == 0)
    chosen = source.index_select(axis, ((places - first) // step).clamp(0, int(source.shape[axis]) - 1))
    shape = [1] * x.ndim
    shape[axis] = size
    return torch.where(taken.reshape(shape), chosen, x)


def fill(x: torch.Tensor, value: Any) -> torch.Tensor:
    """Return a tensor of one value everywhere."""
    filled: torch.Tensor = torch.zeros_like(x) + value
    return filled


OTHERS: dict[str, Callable[..., Any]] = {
    "fill": fill,
    "select_scatter": select_scatter,
    "slice_scatter": slice_scatter,
    "zero": torch.zeros_like,
}
"""Operators that are never exported as they are."""
