"""Preprocessing and softmax inside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PIXELS, PROBABILITIES = "pixels", "probabilities"


def with_preprocessing(path: Path, target: Path, *, mean: Sequence[float], std: Sequence[float]) -> None:
    """Write the classifier so that it takes uint8 pixels NCHW and gives probabilities.

    Args:
        path: takes normalised floats and gives logits [N, classes].
        mean, std: per channel, in 0 to 1.
    """
    model = onnx.load(path)
    graph = model.graph
    (graph_input,), (graph_output,) = graph.input, graph.output
    scale = 1.0 / (255.0 * np.asarray(std, np.float32))
    shift = np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    for name, values in (("pixel_scale", scale), ("pixel_shift", shift)):
        graph.initializer.append(numpy_helper.from_array(values.reshape(1, -1, 1, 1), name))
    before = [
        helper.make_node("Cast", [PIXELS], ["pixels_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels_float", "pixel_scale"], ["pixels_scaled"]),
        helper.make_node("Sub", ["pixels_scaled", "pixel_shift"], [graph_input.name]),
    ]
    nodes = [*before, *graph.node, helper.make_node("Softmax", [graph_output.name], [PROBABILITIES], axis=-1)]
    del graph.node[:]
    graph.node.extend(nodes)
    graph_input.name = PIXELS
    graph_input.type.tensor_type.elem_type = TensorProto.UINT8
    graph_output.name = PROBABILITIES
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
