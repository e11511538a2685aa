"""From what a device's runtime tells of its nodes to graphs that can be cut, and to kernels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from lut.overhead import Whole
from onnx_models.errors import ModelError
from onnx_models.fused_graph import TYPES, FusedGraph, RanNode, Tensor
from profilers.dissection import Dissection
from profilers.events import RunNode


def fused_graph(dissection: Dissection) -> FusedGraph | None:
    """Return the optimised graph; None where the runtime cannot write it.

    Raises:
        ModelError: it is none, or is of tensors whose types ONNX has not.
    """
    if dissection.graph is None:
        return None
    ran = [
        RanNode(name=node.name, operation=node.operation, inputs=_tensors(node.inputs), outputs=_tensors(node.outputs))
        for node in dissection.nodes
    ]
    return FusedGraph(dissection.graph, ran)


def whole_of(dissection: Dissection) -> Whole:
    """Return what the model took without the profiler, and its nodes with it."""
    return Whole(plain_ms=dissection.whole_ms(), profiled_ms=dissection.node_ms())


def moved_bytes(node: RunNode) -> int:
    """Return the bytes that a node reads and writes, weights and activations, by what the runtime tells of it."""
    return sum(tensor.num_bytes for tensor in (*_tensors(node.inputs), *_tensors(node.outputs)))


def _tensors(told: Sequence[dict[str, tuple[int, ...]]]) -> tuple[Tensor, ...]:
    return tuple(_tensor(kind, shape) for tensor in told for kind, shape in tensor.items())


def _tensor(kind: str, shape: tuple[int, ...]) -> Tensor:
    if kind not in TYPES:
        raise ModelError(f"expected tensors of {', '.join(TYPES)}, found one of {kind} of {prod(shape)} elements")
    return Tensor(type=TYPES[kind], shape=tuple(shape))
