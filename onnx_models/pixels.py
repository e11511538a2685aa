"""Preprocessing and softmax inside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

PIXELS, PROBABILITIES = "pixels", "probabilities"


def with_preprocessing(
    path: Path,
    target: Path,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    any_size: bool = False,
) -> None:
    """Write the classifier so that it takes uint8 pixels NCHW and gives probabilities.

    Args:
        path: takes normalised floats and gives logits [N, classes].
        mean, std: per channel, in 0 to 1.
        any_size: take images of any size; their central square is resized to the network's, bilinearly with
            antialiasing, as Pillow does it.
    """
    model = onnx.load(path)
    graph = model.graph
    (graph_input,), (graph_output,) = graph.input, graph.output
    scale = 1.0 / (255.0 * np.asarray(std, np.float32))
    shift = np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    for name, values in (("pixel_scale", scale), ("pixel_shift", shift)):
        graph.initializer.append(numpy_helper.from_array(values.reshape(1, -1, 1, 1), name))
    before = [helper.make_node("Cast", [PIXELS], ["pixels_float"], to=TensorProto.FLOAT)]
    sized = "pixels_float"
    if any_size:
        before += _cropping(graph, sized, "crop")
        before += _resizing(graph, "crop", "pixels_sized")
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


def _integers(graph: onnx.GraphProto, **values: Sequence[int]) -> None:
    for name, found in values.items():
        graph.initializer.append(numpy_helper.from_array(np.array(found, np.int64), name))


def _input_shape(graph: onnx.GraphProto) -> list[int]:
    return [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]


def _cropping(graph: onnx.GraphProto, source: str, target: str) -> list[NodeProto]:
    """Return nodes that crop the central square."""
    _integers(graph, crop_two=[2, 2], crop_axes=[2, 3], crop_start=[2], crop_end=[4])
    return [
        helper.make_node("Shape", [PIXELS], ["crop_shape"]),
        helper.make_node("Slice", ["crop_shape", "crop_start", "crop_end"], ["crop_height_width"]),
        helper.make_node("ReduceMin", ["crop_height_width"], ["crop_side"], keepdims=1),
        helper.make_node("Sub", ["crop_height_width", "crop_side"], ["crop_rest"]),
        helper.make_node("Div", ["crop_rest", "crop_two"], ["crop_first"]),
        helper.make_node("Add", ["crop_first", "crop_side"], ["crop_last"]),
        helper.make_node("Slice", [source, "crop_first", "crop_last", "crop_axes"], [target]),
    ]


def _resizing(graph: onnx.GraphProto, source: str, target: str) -> list[NodeProto]:
    """Return nodes that resize a square to the size of the graph's input, by a matrix of weights from both sides.

    The weight of pixel j for pixel i falls linearly with the distance of their centres, to nothing at one pixel of the
    coarser of the two images; the weights of each i add up to 1. ONNX's Resize averages over what it leaves out from
    operator set 18 on only, and not quite as Pillow does.
    """
    side = _input_shape(graph)[2]
    constants = {
        "half": [0.5],
        "one": [1.0],
        "new_side": [side],
        "centres": (np.arange(side)[:, None] + 0.5) / side,
        "start": 0.0,
        "step": 1.0,
    }
    for name, values in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.float32), f"size_{name}"))
    _integers(graph, size_last_axis=[1])
    steps: tuple[tuple[str, list[str], str, dict[str, Any]], ...] = (
        ("Cast", ["crop_side"], "size_side", {"to": TensorProto.FLOAT}),
        ("Squeeze", ["size_side"], "size_side_scalar", {}),
        ("Range", ["size_start", "size_side_scalar", "size_step"], "size_numbers", {}),
        ("Add", ["size_numbers", "size_half"], "size_pixels", {}),
        ("Mul", ["size_centres", "size_side"], "size_wanted", {}),
        ("Sub", ["size_pixels", "size_wanted"], "size_offsets", {}),
        ("Abs", ["size_offsets"], "size_distances", {}),
        ("Div", ["size_side", "size_new_side"], "size_scale", {}),
        ("Max", ["size_scale", "size_one"], "size_reach", {}),
        ("Div", ["size_distances", "size_reach"], "size_relative", {}),
        ("Sub", ["size_one", "size_relative"], "size_falling", {}),
        ("Relu", ["size_falling"], "size_kept", {}),
        ("ReduceSum", ["size_kept", "size_last_axis"], "size_totals", {"keepdims": 1}),
        ("Div", ["size_kept", "size_totals"], "size_weights", {}),
        ("Transpose", ["size_weights"], "size_weights_T", {"perm": [1, 0]}),
        ("MatMul", [source, "size_weights_T"], "size_narrow", {}),
        ("MatMul", ["size_weights", "size_narrow"], target, {}),
    )
    return [helper.make_node(kind, inputs, [output], **fields) for kind, inputs, output, fields in steps]
