"""Memory of ONNX graphs: weights, and the largest sum of tensors that are alive at once."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated

import onnx
from onnx import ModelProto, NodeProto
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

IN_PLACE = frozenset(
    (
        *("Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "PRelu", "Mul", "Add"),
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
    )
)
"""Operations that runtimes let write over their first input where nothing else needs it."""

_Bytes = Annotated[int, Field(ge=0, le=2**53)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class GraphMemory:
    """Bytes that inference takes: weights, and activations at their peak, input and output included."""

    weight_bytes: _Bytes
    activation_bytes: _Bytes


def graph_memory(model: ModelProto, kept_inputs: Collection[str] = ()) -> GraphMemory:
    """Return the memory of a graph whose nodes run one after the other, in their order in the file.

    Args:
        kept_inputs: names of inputs that something else needs afterwards.

    Raises:
        ValueError: the shape of a tensor is not known, or the graph branches or loops.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    if inner := [n.op_type for n in graph.node if any(a.HasField("g") or a.graphs for a in n.attribute)]:
        raise ValueError(f"what {inner[0]} runs is not known beforehand")
    weights = {t.name: _num_bytes(t.dims, t.data_type) for t in graph.initializer}
    for node in graph.node:
        # Equal weights, such as untrained biases, are stored once and passed on: trained, each has bytes of its own.
        if node.op_type == "Identity" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    constants = {n.output[0] for n in graph.node if n.op_type == "Constant"}
    sizes = {
        v.name: _num_bytes([d.dim_value for d in v.type.tensor_type.shape.dim], v.type.tensor_type.elem_type)
        for v in (*graph.input, *graph.value_info, *graph.output)
        if v.type.tensor_type.HasField("shape")
    }
    nodes = [n for n in graph.node if n.op_type != "Constant" and n.output[0] not in weights]
    # What nothing reads, such as the mask of Dropout, is not computed.
    read = {name for n in nodes for name in n.input if name} | {v.name for v in graph.output}
    is_activation = read - weights.keys() - constants
    if unknown := sorted(is_activation - sizes.keys()):
        raise ValueError(f"the shape of {unknown[0]!r} is not known; give the graph a fixed batch size")
    last_use = {name: i for i, node in enumerate(nodes) for name in node.input if name in is_activation}
    last_use |= {name: len(nodes) for name in (*kept_inputs, *(v.name for v in graph.output))}
    alive = {v.name for v in graph.input if v.name in is_activation}
    peak = sum(sizes[name] for name in alive)
    for i, node in enumerate(nodes):
        outputs = [name for name in node.output if name in is_activation]
        reused = sizes[node.input[0]] if _writes_over(node, i, last_use, sizes) else 0
        alive.update(outputs)
        peak = max(peak, sum(sizes[name] for name in alive) - reused)
        alive = {name for name in alive if last_use.get(name, -1) > i}
    return GraphMemory(weight_bytes=sum(weights.values()), activation_bytes=peak)


def _writes_over(node: NodeProto, position: int, last_use: Mapping[str, int], sizes: Mapping[str, int]) -> bool:
    first = node.input[0] if node.input else ""
    return (
        node.op_type in IN_PLACE
        and first in sizes
        and last_use.get(first) == position
        and sizes[first] == sizes.get(node.output[0])
    )


def _num_bytes(shape: Iterable[int], data_type: int) -> int:
    return math.prod(shape) * int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)
