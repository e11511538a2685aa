"""Normalisations and dropout."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch.nn import functional

from onnx_models.to_torch.node import Lowered, Node, NotCoveredError, lowered


def batch_norm(node: Node) -> Lowered:
    """BatchNormalization with its running statistics."""
    if node.attribute("training_mode", 0):
        raise NotCoveredError("it is in training mode: export the network after .eval()")
    if not node.attribute("spatial", 1):
        raise NotCoveredError("it normalises every pixel by itself")
    epsilon = float(node.attribute("epsilon", 1e-5))
    momentum = 1.0 - float(node.attribute("momentum", 0.9))

    def compute(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        weight, bias, mean, variance = rest
        return functional.batch_norm(x, mean, variance, weight, bias, False, momentum, epsilon)

    mean, variance = (replace(node.value(index), is_statistic=True) for index in (3, 4))
    return lowered(compute, *(node.value(index) for index in range(3)), mean, variance)


def instance_norm(node: Node) -> Lowered:
    """InstanceNormalization."""
    epsilon = float(node.attribute("epsilon", 1e-5))

    def compute(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.instance_norm(x, weight=weight, bias=bias, eps=epsilon)

    return lowered(compute, *node.given())


def layer_norm(node: Node) -> Lowered:
    """LayerNormalization over the last axes."""
    if len(node.proto.output) > 1 and any(node.proto.output[1:]):
        raise NotCoveredError("it gives its mean and deviation too")
    epsilon, axis = float(node.attribute("epsilon", 1e-5)), int(node.attribute("axis", -1))
    shape = node.value(0).shape[axis:]

    def compute(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return functional.layer_norm(x, shape, weight, bias, epsilon)

    if any(prod(value.shape) != prod(shape) for value in node.given()[1:]):
        raise NotCoveredError("its scale has another shape than what it normalises")
    return lowered(compute, *node.given())


def group_norm(node: Node) -> Lowered:
    """GroupNormalization; before opset 21 it had one scale a group."""
    epsilon, groups = float(node.attribute("epsilon", 1e-5)), int(node.attribute("num_groups"))
    channels = node.value(0).shape[1]
    repeated = channels // groups if node.value(1).shape[0] != channels else 1

    def compute(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        if repeated > 1:
            weight, bias = weight.repeat_interleave(repeated), bias.repeat_interleave(repeated)
        return functional.group_norm(x, groups, weight, bias, epsilon)

    return lowered(compute, *node.given())


def response_norm(node: Node) -> Lowered:
    """LRN."""
    size, alpha = int(node.attribute("size")), float(node.attribute("alpha", 1e-4))
    beta, bias = float(node.attribute("beta", 0.75)), float(node.attribute("bias", 1.0))
    return lowered(lambda x: functional.local_response_norm(x, size, alpha, beta, bias), node.value(0))


def dropout(node: Node) -> Lowered:
    """Dropout, which does nothing outside of training."""
    if len(node.proto.output) > 1 and node.proto.output[1]:
        raise NotCoveredError("it gives its mask too")
    if node.has(2) and bool(node.constant(2)):
        raise NotCoveredError("it is in training mode: export the network after .eval()")
    return lowered(_same, node.value(0))


def lp_normalization(node: Node) -> Lowered:
    """LpNormalization, as embeddings have it."""
    axis, order = int(node.attribute("axis", -1)), int(node.attribute("p", 2))
    return lowered(lambda x: functional.normalize(x, float(order), axis), node.value(0))


def _same(x: Any) -> Any:
    return x


OPERATORS = {
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "LpNormalization": lp_normalization,
    "LRN": response_norm,
    "Dropout": dropout,
    "Identity": dropout,
}
