"""Operators that treat every number by itself, activations among them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import torch
from onnx import TensorProto
from torch.nn import functional

from onnx_models.to_torch.node import Lowered, Node, NotCoveredError, lowered
from onnx_models.to_torch.value import Value

_TYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.BOOL: torch.bool,
}

_UNARY: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Relu": functional.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Erf": torch.erf,
    "HardSwish": functional.hardswish,
    "Mish": functional.mish,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Exp": torch.exp,
    "Log": torch.log,
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "Sign": torch.sign,
    "Not": torch.logical_not,
}


def _divided(left: Any, right: Any) -> Any:
    both = [value for value in (left, right) if isinstance(value, torch.Tensor)]
    if all(not value.is_floating_point() for value in both):
        return torch.div(left, right, rounding_mode="trunc")
    return left / right


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": _divided,
    "Pow": lambda a, b: a**b,
    "Mod": torch.remainder,
    "Equal": lambda a, b: a == b,
    "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b,
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "And": torch.logical_and,
    "Or": torch.logical_or,
}


def unary(node: Node) -> Lowered:
    """An operator without attributes that counts."""
    return lowered(_UNARY[node.operator], node.value(0))


def binary(node: Node) -> Lowered:
    """An operator of two; a single constant number becomes one of Python's."""
    function, (left, right) = _BINARY[node.operator], (node.value(0), node.value(1))
    if (number := _number_for(right, left)) is not None:
        return lowered(lambda x: function(x, number), left)
    if (number := _number_for(left, right)) is not None:
        return lowered(lambda x: function(number, x), right)
    return lowered(function, left, right)


def _number_for(constant: Value, other: Value) -> float | None:
    """Return a constant of one number that changes neither shape nor type of the other; None for all else."""
    lane = constant.lanes[0]
    if not (other.is_data and constant.is_constant and lane.numel() == 1 and constant.rank <= other.rank):
        return None
    return float(lane) if lane.is_floating_point() and other.lanes[0].dtype == lane.dtype else None


def several(node: Node) -> Lowered:
    """Sum, Mean, Min and Max of any number of tensors."""
    count = len(node.given())
    functions: dict[str, Callable[..., Any]] = {
        "Min": torch.minimum,
        "Max": torch.maximum,
        "Sum": torch.add,
        "Mean": torch.add,
    }
    function = functions[node.operator]

    def compute(*tensors: torch.Tensor) -> Any:
        total = reduce(function, tensors)
        return total / count if node_is_mean else total

    node_is_mean = node.operator == "Mean"
    return lowered(compute, *node.given())


def clip(node: Node) -> Lowered:
    """Clip; ReLU6 as torch has it."""
    low, high = (_bound(node, index, name) for index, name in ((1, "min"), (2, "max")))
    if low is None and high is None:
        return lowered(lambda x: x, node.value(0))
    if low is not None and high is not None and node.value(0).is_data:
        return lowered(lambda x: functional.hardtanh(x, low, high), node.value(0))
    return lowered(lambda x: torch.clamp(x, low, high), node.value(0))


def _bound(node: Node, index: int, name: str) -> float | int | None:
    if node.has(index):
        return node.constant(index).reshape(-1)[0].item()
    found = node.attribute(name)
    return None if found is None else float(found)


def leaky_relu(node: Node) -> Lowered:
    """LeakyRelu."""
    slope = float(node.attribute("alpha", 0.01))
    return lowered(lambda x: functional.leaky_relu(x, slope), node.value(0))


def prelu(node: Node) -> Lowered:
    """PRelu, with a slope a channel or a single one where its shape says so."""
    x, slope = node.value(0), node.value(1)
    sizes = (1,) * (x.rank - slope.rank) + slope.shape
    if slope.is_constant and all(size == 1 for axis, size in enumerate(sizes) if axis != 1):
        return lowered(lambda x, s: functional.prelu(x, s.reshape(-1)), x, slope)
    return lowered(lambda x, s: torch.where(x < 0, x * s, x), x, slope)


def hard_sigmoid(node: Node) -> Lowered:
    """HardSigmoid; torch's where the slope is a sixth."""
    slope, offset = float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5))
    if abs(slope - 1 / 6) < 1e-6 and offset == 0.5:
        return lowered(functional.hardsigmoid, node.value(0))
    return lowered(lambda x: functional.hardtanh(x * slope + offset, 0.0, 1.0), node.value(0))


def gelu(node: Node) -> Lowered:
    """Gelu."""
    return lowered(partial(functional.gelu, approximate=str(node.attribute("approximate", "none"))), node.value(0))


def elu(node: Node) -> Lowered:
    """Elu and Celu."""
    alpha = float(node.attribute("alpha", 1.0))
    function = functional.elu if node.operator == "Elu" else functional.celu
    return lowered(lambda x: function(x, alpha), node.value(0))


def selu(node: Node) -> Lowered:
    """Selu, with any constants."""
    alpha, gamma = float(node.attribute("alpha", 1.6732632)), float(node.attribute("gamma", 1.0507010))
    return lowered(lambda x: gamma * functional.elu(x, alpha), node.value(0))


def swish(node: Node) -> Lowered:
    """Swish."""
    alpha = float(node.attribute("alpha", 1.0))
    return lowered(functional.silu if alpha == 1 else (lambda x: x * torch.sigmoid(alpha * x)), node.value(0))


def cast(node: Node) -> Lowered:
    """Cast; to half precision is refused."""
    if (dtype := _TYPES.get(node.attribute("to"))) is None:
        kind = TensorProto.DataType.Name(node.attribute("to"))
        raise NotCoveredError(f"it casts to {kind.lower()}, expected float32: bring the float32 model")
    return lowered(lambda x: x.to(dtype), node.value(0))


def where(node: Node) -> Lowered:
    """Where."""
    return lowered(torch.where, *node.given())


def softmax(node: Node) -> Lowered:
    """Softmax and LogSoftmax; before opset 13 over all axes from the given one on."""
    function = functional.softmax if node.operator == "Softmax" else functional.log_softmax
    x = node.value(0)
    axis = int(node.attribute("axis", -1 if node.opset >= 13 else 1)) % x.rank
    if node.opset >= 13 or all(size == 1 for size in x.shape[axis + 1 :]):
        return lowered(lambda x: function(x, axis), x)
    return lowered(lambda x: function(torch.flatten(x, axis), axis).view_as(x), x)


OPERATORS: dict[str, Callable[[Node], Lowered]] = {
    **dict.fromkeys(_UNARY, unary),
    **dict.fromkeys(_BINARY, binary),
    **dict.fromkeys(("Min", "Max", "Sum", "Mean"), several),
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "HardSigmoid": hard_sigmoid,
    "Gelu": gelu,
    "Elu": elu,
    "Celu": elu,
    "Selu": selu,
    "Swish": swish,
    "Cast": cast,
    "Where": where,
    "Softmax": softmax,
    "LogSoftmax": softmax,
}
