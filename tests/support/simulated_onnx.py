"""The layers of an ONNX file, as a simulated machine takes them."""

from __future__ import annotations

from math import prod
from pathlib import Path

import onnx
from simulated_machine import Kind, Layer

FUSED = {
    "Add", "BatchNormalization", "Clip", "Constant", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear",
    "Relu", "Reshape", "Shape", "Squeeze", "Unsqueeze",
}  # fmt: skip
"""Operations that a runtime makes part of their neighbours, or that do nothing."""


def onnx_layers(path: Path) -> tuple[Layer, ...]:
    """The layers of a model of one input with fixed shapes, in the order they run; of floats, whatever it is of."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {weight.name: list(weight.dims) for weight in graph.initializer}
    return tuple(_layer(node, shapes) for node in graph.node if node.op_type not in FUSED)


def _layer(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> Layer:
    inputs, output = prod(shapes[node.input[0]]), shapes[node.output[0]]
    kind: Kind = "light"
    weights, macs, pixels = 0, inputs, 1
    if node.op_type in ("Conv", "Gemm", "MatMul"):
        shape = shapes[node.input[1]]
        pixels = prod(output[1:]) // (output[1] if node.op_type == "Conv" else output[-1])
        weights, macs, kind = prod(shape), prod(shape) * pixels * output[0], _kind(shape, shapes[node.input[0]][1])
    return Layer(
        weight_bytes=4 * weights,
        input_bytes=4 * inputs,
        output_bytes=4 * prod(output),
        macs=macs,
        pixels=pixels,
        kind=kind,
    )


def _kind(weight_shape: list[int], in_channels: int) -> Kind:
    """Of a convolution or matrix product, whose weights are [out, in of a group, height, width] or have no pixels."""
    if prod(weight_shape[2:]) == 1:
        return "pointwise"
    return "depthwise" if weight_shape[1] == 1 < in_channels else "dense"
