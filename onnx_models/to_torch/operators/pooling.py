"""Poolings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from onnx_models.to_torch.node import Lowered, Node, NotCoveredError, lowered
from onnx_models.to_torch.operators.windows import Window, window_of

_MAXIMA: tuple[Callable[..., Any], ...] = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_MEANS: tuple[Callable[..., Any], ...] = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
_GLOBAL: dict[str, tuple[Callable[..., Any], ...]] = {
    "GlobalAveragePool": (
        functional.adaptive_avg_pool1d,
        functional.adaptive_avg_pool2d,
        functional.adaptive_avg_pool3d,
    ),
    "GlobalMaxPool": (functional.adaptive_max_pool1d, functional.adaptive_max_pool2d, functional.adaptive_max_pool3d),
}


def _is_in_torch(window: Window) -> bool:
    """Whether torch's own padding does, which is at most half the kernel."""
    return window.is_symmetric and all(2 * b <= k for b, k in zip(window.before, window.kernel, strict=True))


def max_pool(node: Node) -> Lowered:
    """MaxPool."""
    if len(node.proto.output) > 1 and node.proto.output[1]:
        raise NotCoveredError("it says where the maxima are, which nothing can be trained through")
    window = window_of(node, node.attribute("kernel_shape"))
    function, ceil = _MAXIMA[window.num_axes - 1], bool(node.attribute("ceil_mode", 0))
    inside = _is_in_torch(window)

    def compute(x: torch.Tensor) -> Any:
        padding = window.before if inside else 0
        x = x if inside else window.padded(x, -torch.inf)
        return function(x, window.kernel, window.stride, padding, window.dilation, ceil)

    return lowered(compute, node.value(0))


def average_pool(node: Node) -> Lowered:
    """AveragePool; where torch has no such padding, sums over the counted."""
    window = window_of(node, node.attribute("kernel_shape"))
    if any(gap != 1 for gap in window.dilation):
        raise NotCoveredError("it is dilated")
    function, ceil = _MEANS[window.num_axes - 1], bool(node.attribute("ceil_mode", 0))
    counts_edges = bool(node.attribute("count_include_pad", 0))

    def compute(x: torch.Tensor) -> Any:
        return function(x, window.kernel, window.stride, window.before, ceil, counts_edges)

    def with_edges(x: torch.Tensor) -> Any:
        mean = function(window.padded(x, 0.0), window.kernel, window.stride, 0, ceil)
        if counts_edges:
            return mean
        inside = window.padded(torch.ones_like(x[:1, :1]), 0.0)
        return mean / function(inside, window.kernel, window.stride, 0, ceil)

    return lowered(compute if _is_in_torch(window) else with_edges, node.value(0))


def global_pool(node: Node) -> Lowered:
    """GlobalAveragePool and GlobalMaxPool."""
    axes = node.value(0).rank - 2
    if not 1 <= axes <= 3:
        raise NotCoveredError(f"the map has {axes} axes, expected one to three")
    function = _GLOBAL[node.operator][axes - 1]
    return lowered(lambda x: function(x, 1), node.value(0))


OPERATORS = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
}
