"""Preprocessing and softmax inside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, version_converter

PIXELS, PROBABILITIES = "pixels", "probabilities"

RESIZING_OPSET = 18
"""The first whose Resize averages over what it leaves out when it makes images smaller."""


def with_preprocessing(
    path: Path, target: Path, *, mean: Sequence[float], std: Sequence[float], any_size: bool = False
) -> None:
    """Write the classifier so that it takes uint8 pixels NCHW and gives probabilities.

    Args:
        path: takes normalised floats and gives logits [N, classes].
        mean, std: per channel, in 0 to 1.
        any_size: take images of any size; their central square is resized to the network's, bilinearly with
            antialiasing, as Pillow does it.
    """
    model = onnx.load(path)
    if any_size:
        model = version_converter.convert_version(model, max(RESIZING_OPSET, model.opset_import[0].version))
    graph = model.graph
    (graph_input,), (graph_output,) = graph.input, graph.output
    scale = 1.0 / (255.0 * np.asarray(std, np.float32))
    shift = np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    for name, values in (("pixel_scale", scale), ("pixel_shift", shift)):
        graph.initializer.append(numpy_helper.from_array(values.reshape(1, -1, 1, 1), name))
    before = [helper.make_node("Cast", [PIXELS], ["pixels_float"], to=TensorProto.FLOAT)]
    sized = "pixels_float"
    if any_size:
        before += _resizing(graph, sized, "pixels_sized")
        sized = "pixels_sized"
        for axis, name in ((2, "height"), (3, "width")):
            graph_input.type.tensor_type.shape.dim[axis].dim_param = name
    before += [
        helper.make_node("Mul", [sized, "pixel_scale"], ["pixels_scaled"]),
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


def _resizing(graph: onnx.GraphProto, source: str, target: str) -> list[NodeProto]:
    """Nodes that crop the central square and resize it to the size of the graph's input."""
    shape = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    integers = {"crop_two": [2, 2], "crop_axes": [2, 3], "crop_start": [2], "crop_end": [4], "crop_sizes": shape}
    for name, values in integers.items():
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    return [
        helper.make_node("Shape", [PIXELS], ["crop_shape"]),
        helper.make_node("Slice", ["crop_shape", "crop_start", "crop_end"], ["crop_height_width"]),
        helper.make_node("ReduceMin", ["crop_height_width"], ["crop_side"], keepdims=1),
        helper.make_node("Sub", ["crop_height_width", "crop_side"], ["crop_rest"]),
        helper.make_node("Div", ["crop_rest", "crop_two"], ["crop_first"]),
        helper.make_node("Add", ["crop_first", "crop_side"], ["crop_last"]),
        helper.make_node("Slice", [source, "crop_first", "crop_last", "crop_axes"], ["crop"]),
        helper.make_node("Resize", ["crop", "", "", "crop_sizes"], [target], mode="linear", antialias=1),
    ]
