"""Convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from onnx_models.to_torch.node import Lowered, Node, NotCoveredError, lowered
from onnx_models.to_torch.operators.windows import window_of

_CONVOLUTIONS: tuple[Callable[..., torch.Tensor], ...] = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSED: tuple[Callable[..., torch.Tensor], ...] = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


def convolution(node: Node) -> Lowered:
    """Conv, of one to three axes."""
    window = window_of(node, node.value(1).shape[2:])
    function = _CONVOLUTIONS[window.num_axes - 1]
    groups = int(node.attribute("group", 1))
    padding = window.before if window.is_symmetric else 0

    def compute(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        x = x if window.is_symmetric else window.padded(x, 0.0)
        return function(x, weight, bias, window.stride, padding, window.dilation, groups)

    return lowered(compute, *node.given())


def transposed_convolution(node: Node) -> Lowered:
    """ConvTranspose, with the output's size from its padding."""
    window = window_of(node, node.value(1).shape[2:])
    if node.attribute("output_shape") is not None or str(node.attribute("auto_pad", "NOTSET")) != "NOTSET":
        raise NotCoveredError("it is told the size of its output, expected pads")
    extra = tuple(int(size) for size in node.attribute("output_padding", [0] * window.num_axes))
    # What is cut off after may be less than before: torch calls the difference output padding.
    extra = tuple(e + b - a for e, b, a in zip(extra, window.before, window.after, strict=True))
    if min(extra) < 0:
        raise NotCoveredError("it cuts off more after than before")
    function, groups = _TRANSPOSED[window.num_axes - 1], int(node.attribute("group", 1))

    def compute(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
        return function(x, weight, bias, window.stride, window.before, extra, groups, window.dilation)

    return lowered(compute, *node.given())


OPERATORS = {"Conv": convolution, "ConvTranspose": transposed_convolution}
