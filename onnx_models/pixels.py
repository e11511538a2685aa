"""Preprocessing and softmax inside the graph."""

from __future__ import annotations

import math
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
    gives_probabilities: bool = True,
) -> None:
    """Write the model so that it takes uint8 pixels NCHW; classifiers then give probabilities.

    Args:
        path: takes normalised floats; a classifier gives logits [N, classes], their logarithms of probabilities, or
            what a softmax or sigmoid at its end makes of them, which stays as it is.
        mean, std: per channel, in 0 to 1.
        gives_probabilities: whether it is a classifier; else its outputs stay as they are.
        any_size: take images of any size; their largest central part of the network's shape is resized to it,
            bilinearly with antialiasing, as Pillow does it.
    """
    model = onnx.load(path)
    graph = model.graph
    (graph_input,) = graph.input
    scale = 1.0 / (255.0 * np.asarray(std, np.float32))
    shift = np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    for name, values in (("pixel_scale", scale), ("pixel_shift", shift)):
        graph.initializer.append(numpy_helper.from_array(values.reshape(1, -1, 1, 1), name))
    before = [helper.make_node("Cast", [PIXELS], ["pixels_float"], to=TensorProto.FLOAT)]
    sized = "pixels_float"
    if any_size:
        height, width = _input_shape(graph)[2:]
        if height == width:
            before += _cropping_square(graph, sized, "crop")
            before += [
                *_weighing(graph, "size", "crop_side", height),
                *_resizing("crop", "pixels_sized", "size", "size"),
            ]
        else:
            before += _cropping(graph, sized, "crop", height, width)
            before += _weighing(graph, "height", "crop_height", height) + _weighing(graph, "width", "crop_width", width)
            before += _resizing("crop", "pixels_sized", "height", "width")
        sized = "pixels_sized"
        for axis, name in ((2, "height"), (3, "width")):
            graph_input.type.tensor_type.shape.dim[axis].dim_param = name
    before += [
        helper.make_node("Mul", [sized, "pixel_scale"], ["pixels_scaled"]),
        helper.make_node("Sub", ["pixels_scaled", "pixel_shift"], [graph_input.name]),
    ]
    nodes = [*before, *graph.node, *(_probabilities(graph) if gives_probabilities else [])]
    del graph.node[:]
    graph.node.extend(nodes)
    graph_input.name = PIXELS
    graph_input.type.tensor_type.elem_type = TensorProto.UINT8
    if gives_probabilities:
        graph.output[0].name = PROBABILITIES
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def _probabilities(graph: onnx.GraphProto) -> list[NodeProto]:
    """Return the nodes that make probabilities of what a graph gives; none where it gives them, now by that name."""
    given = graph.output[0].name
    last = next(node for node in graph.node if given in node.output)
    if last.op_type not in ("Sigmoid", "Softmax"):
        return [helper.make_node("Softmax", [given], [PROBABILITIES], axis=-1)]
    last.output[:] = [PROBABILITIES]
    return []


def _integers(graph: onnx.GraphProto, **values: Sequence[int]) -> None:
    for name, found in values.items():
        graph.initializer.append(numpy_helper.from_array(np.array(found, np.int64), name))


def _input_shape(graph: onnx.GraphProto) -> list[int]:
    return [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]


def _cropping(graph: onnx.GraphProto, source: str, target: str, height: int, width: int) -> list[NodeProto]:
    """Return nodes that crop the largest central part whose sides are as a height to a width, to the pixel."""
    divisor = math.gcd(height, width)
    sides = [height // divisor, width // divisor]
    _integers(graph, crop_two=[2, 2], crop_axes=[2, 3], crop_start=[2], crop_end=[4], crop_split=[1, 1])
    _integers(graph, crop_ratio=sides, crop_other=sides[::-1])
    return [
        helper.make_node("Shape", [PIXELS], ["crop_shape"]),
        helper.make_node("Slice", ["crop_shape", "crop_start", "crop_end"], ["crop_height_width"]),
        helper.make_node("Split", ["crop_height_width", "crop_split"], ["crop_whole_height", "crop_whole_width"]),
        helper.make_node("Concat", ["crop_whole_width", "crop_whole_height"], ["crop_swapped"], axis=0),
        helper.make_node("Mul", ["crop_swapped", "crop_ratio"], ["crop_scaled"]),
        helper.make_node("Div", ["crop_scaled", "crop_other"], ["crop_fitting"]),
        helper.make_node("Min", ["crop_height_width", "crop_fitting"], ["crop_sides"]),
        helper.make_node("Split", ["crop_sides", "crop_split"], ["crop_height", "crop_width"]),
        helper.make_node("Sub", ["crop_height_width", "crop_sides"], ["crop_rest"]),
        helper.make_node("Div", ["crop_rest", "crop_two"], ["crop_first"]),
        helper.make_node("Add", ["crop_first", "crop_sides"], ["crop_last"]),
        helper.make_node("Slice", [source, "crop_first", "crop_last", "crop_axes"], [target]),
    ]


def _cropping_square(graph: onnx.GraphProto, source: str, target: str) -> list[NodeProto]:
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


def _resizing(source: str, target: str, rows: str, columns: str) -> list[NodeProto]:
    """Return nodes that resize an image by matrices of weights from both sides."""
    return [
        helper.make_node("Transpose", [f"{columns}_weights"], [f"{columns}_weights_T"], perm=[1, 0]),
        helper.make_node("MatMul", [source, f"{columns}_weights_T"], [f"{columns}_narrow"]),
        helper.make_node("MatMul", [f"{rows}_weights", f"{columns}_narrow"], [target]),
    ]


def _weighing(graph: onnx.GraphProto, name: str, length: str, side: int) -> list[NodeProto]:
    """Return nodes that make the matrix of weights which resizes a length to `side` pixels.

    The weight of pixel j for pixel i falls linearly with the distance of their centres, to nothing at one pixel of the
    coarser of the two images; the weights of each i add up to 1. ONNX's Resize averages over what it leaves out from
    operator set 18 on only, and not quite as Pillow does.
    """
    constants = {
        "half": [0.5],
        "one": [1.0],
        "new_side": [side],
        "centres": (np.arange(side)[:, None] + 0.5) / side,
        "start": 0.0,
        "step": 1.0,
    }
    for constant, values in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.float32), f"{name}_{constant}"))
    _integers(graph, **{f"{name}_last_axis": [1]})
    steps: tuple[tuple[str, list[str], str, dict[str, Any]], ...] = (
        ("Cast", [length], "side", {"to": TensorProto.FLOAT}),
        ("Squeeze", [f"{name}_side"], "side_scalar", {}),
        ("Range", [f"{name}_start", f"{name}_side_scalar", f"{name}_step"], "numbers", {}),
        ("Add", [f"{name}_numbers", f"{name}_half"], "pixels", {}),
        ("Mul", [f"{name}_centres", f"{name}_side"], "wanted", {}),
        ("Sub", [f"{name}_pixels", f"{name}_wanted"], "offsets", {}),
        ("Abs", [f"{name}_offsets"], "distances", {}),
        ("Div", [f"{name}_side", f"{name}_new_side"], "scale", {}),
        ("Max", [f"{name}_scale", f"{name}_one"], "reach", {}),
        ("Div", [f"{name}_distances", f"{name}_reach"], "relative", {}),
        ("Sub", [f"{name}_one", f"{name}_relative"], "falling", {}),
        ("Relu", [f"{name}_falling"], "kept", {}),
        ("ReduceSum", [f"{name}_kept", f"{name}_last_axis"], "totals", {"keepdims": 1}),
        ("Div", [f"{name}_kept", f"{name}_totals"], "weights", {}),
    )
    return [helper.make_node(kind, inputs, [f"{name}_{output}"], **fields) for kind, inputs, output, fields in steps]
