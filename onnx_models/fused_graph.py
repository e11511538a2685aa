"""Graphs as a runtime has optimised them, cut into fused operators and runs of them, each a model of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from onnx_models.errors import ModelError

IR_VERSION = 10
"""Of the models that are cut out, as old runtimes read it too."""

TYPES: Mapping[str, int] = {
    **{"float": TensorProto.FLOAT, "double": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16},
    **{"bfloat16": TensorProto.BFLOAT16, "bool": TensorProto.BOOL},
    **{f"int{bits}": getattr(TensorProto, f"INT{bits}") for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": getattr(TensorProto, f"UINT{bits}") for bits in (8, 16, 32, 64)},
}
"""ONNX's element types by ONNX Runtime's names for them."""

SPREAD = 0.05
"""Standard deviation of weights that stand in for the real ones: small, so that no activation overflows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """Type and sizes of a tensor.

    Attributes:
        type: ONNX's number of the element type.
    """

    type: int
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """The bytes that its elements take."""
        return prod(self.shape) * int(helper.tensor_dtype_to_np_dtype(self.type).itemsize)

    @property
    def text(self) -> str:
        """Its sizes as 1x3x32x32, with the type in front where that is not float."""
        sizes = "x".join(map(str, self.shape)) or "scalar"
        return sizes if self.type == TensorProto.FLOAT else f"{_NAMES.get(self.type, self.type)}:{sizes}"


_NAMES = {number: name for name, number in TYPES.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class RanNode:
    """Tells how a node of an optimised graph ran.

    Attributes:
        inputs, outputs: of the tensors that are there, in the node's order.
    """

    name: str
    operation: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class FusedGraph:
    """An optimised graph of fixed shapes, its nodes in the order that a runtime runs them.

    Args:
        content: the graph as an ONNX file; weights may be left out, and are made up then where a model is cut out.
        ran: its nodes as they ran once.

    Attributes:
        nodes: in the order that they ran.

    Raises:
        ModelError: it is no ONNX file, or nodes that ran are not those of the graph.
    """

    def __init__(self, content: bytes, ran: Sequence[RanNode]) -> None:
        self._model = _parsed(content)
        self._weights: dict[str, TensorProto] = {t.name: t for t in self._model.graph.initializer}
        self._tensors: dict[str, Tensor] = {
            name: Tensor(type=t.data_type, shape=tuple(t.dims)) for name, t in self._weights.items()
        }
        for value in self._model.graph.input:
            sizes = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            self._tensors.setdefault(value.name, Tensor(type=value.type.tensor_type.elem_type, shape=sizes))
        self.nodes = self._in_order(ran)

    def _in_order(self, ran: Sequence[RanNode]) -> tuple[NodeProto, ...]:
        """Return the nodes in the order that they ran, and note what they were given and gave."""
        left = list(self._model.graph.node)
        ordered = []
        for record in ran:
            number = _matching(left, record)
            if number is None:
                continue  # of a graph inside a node, such as a loop's
            ordered.append(node := left.pop(number))
            self._note(node.input, record.inputs)
            self._note(node.output, record.outputs)
        if left:
            raise ModelError(f"the optimised graph has {left[0].op_type} {left[0].name!r}, which did not run")
        return tuple(ordered)

    def _note(self, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
        """Note tensors by their names, unless some are missing, such as weights that the runtime has packed anew."""
        present = [name for name in names if name]
        if len(present) == len(tensors):
            for name, tensor in zip(present, tensors, strict=True):
                self._tensors.setdefault(name, tensor)

    def tensor(self, name: str) -> Tensor:
        """Return the type and sizes of a tensor.

        Raises:
            ModelError: the runtime did not tell them.
        """
        if name not in self._tensors:
            raise ModelError(f"the sizes of {name!r} are not known beforehand: they depend on what goes in")
        return self._tensors[name]

    def weights(self, node: NodeProto) -> tuple[Tensor, ...]:
        """Return the constants that a node reads."""
        return tuple(self.tensor(name) for name in node.input if name in self._weights)

    def inputs(self, node: NodeProto) -> tuple[Tensor, ...]:
        """Return the activations that a node reads."""
        return tuple(self.tensor(name) for name in node.input if name and name not in self._weights)

    def outputs(self, node: NodeProto) -> tuple[Tensor, ...]:
        """Return what a node gives."""
        return tuple(self.tensor(name) for name in node.output if name)

    @cached_property
    def _last_use(self) -> dict[str, int]:
        """Number of the last node that reads a tensor; one past the last node for outputs of the graph."""
        last = {name: number for number, node in enumerate(self.nodes) for name in node.input}
        return last | {value.name: len(self.nodes) for value in self._model.graph.output}

    def cut(self, first: int, end: int) -> ModelProto:
        """Return the nodes from `first` to before `end` as a model of its own.

        It takes what comes from before, gives what is read later, and knows the sizes of all its tensors.

        Raises:
            ModelError: the sizes of a tensor are not known.
        """
        nodes = self.nodes[first:end]
        given = {name for node in nodes for name in node.output if name}
        read = list(dict.fromkeys(name for node in nodes for name in node.input if name))
        taken = [name for name in read if name not in given and name not in self._weights]
        kept = [n for node in nodes for n in node.output if n and self._last_use.get(n, -1) >= end]
        inner = sorted(given - {*kept} - {n for n in given if n not in self._tensors})
        graph: GraphProto = helper.make_graph(
            nodes,
            "cut",
            [self._value(name) for name in taken],
            [self._value(name) for name in kept or sorted(given)[:1]],
            initializer=[_with_values(self._weights[name]) for name in read if name in self._weights],
            value_info=[self._value(name) for name in inner],
        )
        return helper.make_model(graph, opset_imports=list(self._model.opset_import), ir_version=IR_VERSION)

    def _value(self, name: str) -> onnx.ValueInfoProto:
        tensor = self.tensor(name)
        return helper.make_tensor_value_info(name, tensor.type, tensor.shape)


def _parsed(content: bytes) -> ModelProto:
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ModelError("expected the optimised graph as an ONNX file, found something else") from error
    return model


def _matching(nodes: Sequence[NodeProto], record: RanNode) -> int | None:
    """Return the place of the node that ran; nodes without a name go by their operation, in order."""
    alike = [number for number, node in enumerate(nodes) if node.op_type == record.operation]
    named = [number for number in alike if nodes[number].name == record.name]
    return next(iter(named or [number for number in alike if not nodes[number].name]), None)


def _with_values(weight: TensorProto) -> TensorProto:
    """Return a weight as it is, or made up where its values were left out: latency depends on type and sizes."""
    if not uses_external_data(weight):
        return weight
    dtype: Any = helper.tensor_dtype_to_np_dtype(weight.data_type)
    return numpy_helper.from_array(_made_up(tuple(weight.dims), dtype), weight.name)


def _made_up(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return small normal floats, or small integers; zeros of 32 bits and more, since those number something."""
    rng = np.random.default_rng(prod(shape))
    if not np.issubdtype(dtype, np.integer):
        return np.asarray(SPREAD * rng.standard_normal(shape, dtype=np.float32), dtype=dtype)
    limits = np.iinfo(dtype)
    if limits.bits >= 32:
        return np.zeros(shape, dtype=dtype)
    return np.asarray(rng.integers(limits.min // 2, limits.max // 2, shape, dtype=dtype, endpoint=True))
