"""Sums, means and norms over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from onnx_models.to_torch.node import Lowered, Node, NotCoveredError, lowered

_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
}


def reduction(node: Node) -> Lowered:
    """One of the reductions; axes are an input in newer operators."""
    function, keep, x = _REDUCTIONS[node.operator], bool(node.attribute("keepdims", 1)), node.value(0)
    axes = node.ints(1, "axes") or []
    if not axes and node.attribute("noop_with_empty_axes", 0):
        return lowered(lambda x: x, x)
    chosen = [axis % x.rank for axis in axes] or list(range(x.rank))
    if x.is_data and x.batch_axis in chosen:
        raise NotCoveredError("it mixes the images of a batch")
    return lowered(lambda x: function(x, chosen, keep), x)


def product_of_all(node: Node) -> Lowered:
    """ReduceProd, of shapes."""
    keep = bool(node.attribute("keepdims", 1))
    axes = node.ints(1, "axes")

    def compute(x: torch.Tensor) -> torch.Tensor:
        for axis in sorted((a % x.ndim for a in axes or range(x.ndim)), reverse=True):
            x = x.prod(axis, keepdim=keep)
        return x

    if node.value(0).is_data:
        raise NotCoveredError("it multiplies pixels")
    return lowered(compute, node.value(0))


OPERATORS = {**dict.fromkeys(_REDUCTIONS, reduction), "ReduceProd": product_of_all}
