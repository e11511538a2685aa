"""Kernels: the distinct fused operators of optimised graphs, described by what their time depends on."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any

from onnx import NodeProto, helper
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from onnx_models.fused_graph import FusedGraph, Tensor

_Count = Annotated[int, Field(ge=0, le=2**60)]
_Size = Annotated[int, Field(ge=1, le=2**40)]

CONVOLUTIONS = ("Conv", "ConvInteger", "ConvTranspose", "FusedConv", "NhwcFusedConv", "QLinearConv")
PRODUCTS = ("FusedGemm", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger", "QGemm", "QLinearMatMul")
"""Operations that multiply and accumulate, by the names of ONNX and of ONNX Runtime."""

SHORT = {"kernel_shape": "k", "strides": "s", "group": "g", "activation": "act"}
"""Names in keys of the attributes that most kernels have."""

UNTIMED = frozenset(("activation_params", "auto_pad", "ceil_mode", "epsilon", "momentum", "pads", "storage_order"))
"""Attributes that change what is computed, and not how long that takes."""

USUAL = {"dilations": "1x1", "g": "1", "s": "1x1", "alpha": "1", "beta": "1", "transA": "0", "channels_last": "0"}
"""Values that keys leave out."""

MAX_TEXT = 60
"""Longest value of an attribute that a key spells out."""


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class Kernel:
    """A fused operator of fixed shapes.

    Attributes:
        key: operation, types, shapes and attributes in words: equal where two take equally long.
        macs: multiply-accumulates; 0 of operations that do not multiply matrices.
        weight_bytes, input_bytes, output_bytes: of constants and activations that it reads, and of what it gives.
        in_channels: channels of the first activation.
        out_channels: channels of what it gives.
        group_channels: input channels that one output channel is made of.
        window: pixels of the kernel.
        stride: pixels between two positions.
        pixels: positions of what it gives, batch included.
        num_inputs: activations that it reads: two where a residual is added.
        activation: the function that is fused into it, empty for none.
    """

    key: Annotated[str, Field(min_length=1, max_length=4000)]
    macs: _Count
    weight_bytes: _Count
    input_bytes: _Count
    output_bytes: _Count
    in_channels: _Size
    out_channels: _Size
    group_channels: _Size
    window: _Size
    stride: _Size
    pixels: _Size
    num_inputs: Annotated[int, Field(ge=0, le=4096)]
    activation: Annotated[str, Field(max_length=100)] = ""

    @property
    def kind(self) -> str:
        """The operation; depthwise convolutions are a kind of their own."""
        operation = self.key.partition("(")[0]
        is_depthwise = self.group_channels == 1 < self.in_channels and self.window > 1 and self.macs > 0
        return f"{operation} depthwise" if is_depthwise else operation

    @property
    def moved_bytes(self) -> int:
        """The bytes that it reads and writes, weights and activations."""
        return self.weight_bytes + self.input_bytes + self.output_bytes


def kernel_of(graph: FusedGraph, node: NodeProto) -> Kernel:
    """Return the kernel that a node is.

    Raises:
        ModelError: the size of a tensor is not known.
    """
    inputs, weights, outputs = graph.inputs(node), graph.weights(node), graph.outputs(node)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    weight = next((w for w in weights if len(w.shape) >= 3), None) if node.op_type in CONVOLUTIONS else None
    first, given = _first(inputs or weights), _first(outputs)
    left = graph.tensor(node.input[0]) if node.op_type in PRODUCTS else first
    out_channels = _channels(given)
    return Kernel(
        key=_key(node, attributes, inputs, weights, outputs),
        macs=_macs(node.op_type, attributes, left, weight, given),
        weight_bytes=sum(w.num_bytes for w in weights),
        input_bytes=sum(t.num_bytes for t in inputs),
        output_bytes=sum(t.num_bytes for t in outputs),
        in_channels=_channels(first),
        out_channels=out_channels,
        group_channels=_channels(first) if weight is None else max(1, weight.shape[1]),
        window=_product(attributes.get("kernel_shape")),
        stride=_product(attributes.get("strides")),
        pixels=max(1, prod(given.shape) // out_channels),
        num_inputs=len(inputs),
        activation=_text(attributes.get("activation", "")),
    )


def kernels_of(graph: FusedGraph) -> list[Kernel]:
    """Return the kernel of every node, in the order that they run."""
    return [kernel_of(graph, node) for node in graph.nodes]


def _macs(operation: str, attributes: dict[str, Any], left: Tensor, weight: Tensor | None, given: Tensor) -> int:
    """Return the multiply-accumulates of a convolution of that weight, or of a product whose left factor is given."""
    if weight is not None:
        return prod(given.shape) * prod(weight.shape[1:])
    if operation in PRODUCTS and left.shape:
        depth = left.shape[-2] if attributes.get("transA") and len(left.shape) > 1 else left.shape[-1]
        return prod(given.shape) * depth
    return 0


def _key(
    node: NodeProto,
    attributes: dict[str, Any],
    inputs: tuple[Tensor, ...],
    weights: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
) -> str:
    domain = node.domain.rpartition(".")[2]
    fields = {
        "in": "+".join(t.text for t in inputs),
        "weights": "+".join(t.text for t in weights),
        "out": "+".join(t.text for t in outputs),
        **{SHORT.get(name, name): _text(attributes[name]) for name in sorted(attributes) if name not in UNTIMED},
    }
    spelled = ",".join(f"{name}={text}" for name, text in fields.items() if text not in ("", USUAL.get(name)))
    return f"{f'{domain}.' if domain else ''}{node.op_type}({spelled})"


def _text(value: Any) -> str:
    """Return an attribute's value as a word without commas or brackets."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str | int):
        words = str(value)
    elif isinstance(value, list | tuple) and all(isinstance(part, str | bytes | int | float) for part in value):
        words = "x".join(map(_text, value))
    else:
        words = type(value).__name__
    kept = "".join(c for c in words if c.isprintable() and c not in ",()=")
    return kept[:MAX_TEXT]


def _first(tensors: tuple[Tensor, ...]) -> Tensor:
    """Return the first of the tensors that is as large as any of them."""
    return max(tensors, key=lambda t: t.num_bytes, default=Tensor(type=1, shape=()))


def _channels(tensor: Tensor) -> int:
    """Return the size of the second axis of images, of the last axis of all else."""
    if not tensor.shape:
        return 1
    return max(1, tensor.shape[1] if len(tensor.shape) >= 4 else tensor.shape[-1])


def _product(sizes: Any) -> int:
    return max(1, prod(sizes)) if sizes else 1
