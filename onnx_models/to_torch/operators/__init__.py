"""What each ONNX operator is in torch: functions from a node to what it computes."""

from __future__ import annotations

from collections.abc import Callable

from onnx_models.to_torch.node import Lowered, Node
from onnx_models.to_torch.operators import (
    convolution,
    elementwise,
    joining,
    normalisation,
    pooling,
    product,
    reduction,
    resizing,
    shape,
)

Operator = Callable[[Node], Lowered]

OPERATORS: dict[str, Operator] = {
    **convolution.OPERATORS,
    **elementwise.OPERATORS,
    **joining.OPERATORS,
    **normalisation.OPERATORS,
    **pooling.OPERATORS,
    **product.OPERATORS,
    **reduction.OPERATORS,
    **resizing.OPERATORS,
    **shape.OPERATORS,
}
"""By the names of ONNX's own domain."""
