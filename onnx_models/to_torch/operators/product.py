"""Products of matrices: linear layers where one of them is a constant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional

from onnx_models.to_torch.node import Lowered, Node, NotCoveredError, lowered
from onnx_models.to_torch.value import Value


def mapped(value: Value, function: Any) -> Value:
    """Return a constant that was changed once, when the module is made."""
    changed = function(value.lanes[0]).contiguous()
    return replace(value, lanes=(changed,) * len(value.lanes))


def matmul(node: Node) -> Lowered:
    """MatMul; of images with a constant matrix, a linear layer."""
    left, right = node.value(0), node.value(1)
    if left.is_data and right.is_constant and right.rank == 2:
        return lowered(functional.linear, left, mapped(right, torch.t))
    return lowered(torch.matmul, left, right)


def gemm(node: Node) -> Lowered:
    """Gemm: a linear layer, its factors multiplied into constant weights."""
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    left, right = node.value(0), node.value(1)
    if node.attribute("transA", 0):
        raise NotCoveredError("it transposes the images' matrix")
    is_transposed = bool(node.attribute("transB", 0))
    if right.is_constant:
        weight = mapped(right, lambda w: (w if is_transposed else w.t()) * (alpha if alpha != 1 else 1))
        if not node.has(2):
            return lowered(functional.linear, left, weight)
        bias = node.value(2)
        if bias.is_constant and bias.shape in ((), (1,), (1, 1), (right.shape[0 if is_transposed else 1],)):
            outputs = right.shape[0 if is_transposed else 1]
            full = mapped(bias, lambda b: (b.reshape(-1) * (beta if beta != 1 else 1)).expand(outputs))
            return lowered(functional.linear, left, weight, full)
        return lowered(lambda x, w, b: functional.linear(x, w) + beta * b, left, weight, bias)

    def compute(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        product = alpha * (x @ (y.t() if is_transposed else y))
        return product if z is None else product + beta * z

    return lowered(compute, *node.given())


def einsum(node: Node) -> Lowered:
    """Einsum."""
    equation = str(node.attribute("equation"))
    return lowered(lambda *tensors: torch.einsum(equation, *tensors), *node.given())


OPERATORS = {"MatMul": matmul, "Gemm": gemm, "Einsum": einsum}
