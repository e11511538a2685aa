"""Small ONNX files of every kind that people have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
Shape = Sequence[int | str | None]


def value(name: str, shape: Shape, kind: int = FLOAT) -> ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def save_graph(
    path: Path,
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    *,
    location: str | None = None,
    **weights: np.ndarray,
) -> Path:
    """Write a graph; with a location, its weights to a file of that name beside it."""
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, path, save_as_external_data=location is not None, location=location, size_threshold=0)
    return path


def save_chain(path: Path, shape: Shape, *, location: str | None = None, bias: float = 1.0) -> Path:
    """One addition of a weight as large as the last axis."""
    last = shape[-1]
    assert isinstance(last, int)
    return save_graph(
        path,
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [value("x", shape)],
        [value("y", shape)],
        location=location,
        w=np.full(last, bias, np.float32),
    )


def save_classifier(
    path: Path,
    tail: Sequence[NodeProto],
    output: ValueInfoProto,
    *,
    input_shape: Shape = ("N", 1, 8, 8),
    kind: int = FLOAT,
    num_classes: int = 10,
    location: str | None = None,
) -> Path:
    """A linear classifier of digits from `x` to `logits` [N, classes], and what comes after it."""
    rng = np.random.default_rng(0)
    head = [
        helper.make_node("Cast", ["x"], ["numbers"], to=FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    weight = rng.standard_normal((64, num_classes)).astype(np.float32)
    return save_graph(path, [*head, *tail], [value("x", input_shape, kind)], [output], location=location, w=weight)
