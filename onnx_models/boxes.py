"""Detectors' decoding and non-maximum suppression inside the graph.

Shapes: N images, P points, K classes, D boxes found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnx_models.box_limits import BoxLimits

BOXES, SCORES, CLASSES, IMAGES = "boxes", "scores", "classes", "images"
"""The outputs of a model that has suppression inside; the last only where it takes more than one image."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Boxes:
    """The boxes found on an image, by falling score.

    Attributes:
        boxes_D4: x1, y1, x2, y2 in pixels.
        scores_D: in 0 to 1.
        classes_D: indices.
    """

    boxes_D4: NDArray[np.float32]
    scores_D: NDArray[np.float32]
    classes_D: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores_D)


class OnnxDetector:
    """Runs a model that has suppression inside in ONNX Runtime on the CPU.

    Attributes:
        batch: the file's fixed batch size; None where it takes any.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self._names = [node.name for node in self._session.get_outputs()]
        size = self._input.shape[0]
        self.batch = size if isinstance(size, int) else None

    @property
    def takes_pixels(self) -> bool:
        """Whether it takes uint8 images as they are, rather than normalised ones."""
        return bool(self._input.type == "tensor(uint8)")

    def __call__(self, images_NCHW: torch.Tensor) -> list[Boxes]:
        """Return the boxes of each image; images are as the model takes them, floats or pixels."""
        images = images_NCHW.contiguous().numpy()
        batch = self.batch or len(images)
        found: list[Boxes] = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            filled = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), part.dtype)])
            outputs = dict(zip(self._names, self._session.run(None, {self._input.name: filled}), strict=True))
            found += [_of_image(outputs, number) for number in range(len(part))]
        return found


def _of_image(outputs: Mapping[str, NDArray[Any]], number: int) -> Boxes:
    rows = outputs[IMAGES] == number if IMAGES in outputs else slice(None)
    return Boxes(boxes_D4=outputs[BOXES][rows], scores_D=outputs[SCORES][rows], classes_D=outputs[CLASSES][rows])


def gives_boxes(path: Path) -> bool:
    """Return whether a model has suppression inside."""
    outputs = {output.name for output in onnx.load(path, load_external_data=False).graph.output}
    return {BOXES, SCORES, CLASSES} <= outputs


def with_suppression(
    path: Path,
    target: Path,
    points_P2: NDArray[np.float32],
    strides_P: NDArray[np.float32],
    *,
    limits: BoxLimits,
) -> None:
    """Write the detector so that it gives boxes: decoding, sigmoid and ONNX's NonMaxSuppression follow its output.

    The outputs are `boxes` [D, 4] (x1, y1, x2, y2 in pixels), `scores` [D] and `classes` [D], by falling score; of
    models that take more than one image, the boxes of the first image come first, and `images` [D] tells whose each is.
    Suppression is by class and greedy by score; then those with the highest scores of an image are kept.

    Args:
        path: gives [N, P, 4 + K]: distances from each point to the sides of its box, left, top, right, bottom, in
            strides, and the logit of each class.
        points_P2: x and y in pixels.
        strides_P: in pixels.

    Raises:
        ValueError: the model gives something else.
    """
    model = onnx.load(path)
    graph = model.graph
    raw, num_images, num_classes = _raw_output(graph, len(points_P2))
    _add_constants(graph, points_P2, strides_P, num_classes, limits)
    graph.node.extend([*_decoding(raw), *_suppressing(), *_sorting(), *_gathering()])
    del graph.output[:]
    integers = {CLASSES: TensorProto.INT64} | ({} if num_images == 1 else {IMAGES: TensorProto.INT64})
    graph.output.append(helper.make_tensor_value_info(BOXES, TensorProto.FLOAT, ["found", 4]))
    for name, kind in {SCORES: TensorProto.FLOAT, **integers}.items():
        graph.output.append(helper.make_tensor_value_info(name, kind, ["found"]))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def _raw_output(graph: onnx.GraphProto, num_points: int) -> tuple[str, int | None, int]:
    """Return the output's name, the number of images, None for any, and of classes."""
    outputs = list(graph.output)
    dims = [dim.dim_value or None for dim in outputs[0].type.tensor_type.shape.dim]
    if len(outputs) != 1 or len(dims) != 3 or dims[1] != num_points or (dims[2] or 0) < 5:
        shape = "x".join("any" if dim is None else str(dim) for dim in dims)
        raise ValueError(
            f"expected one output of {num_points} points with 4 distances and a score of each class, got "
            f"{len(outputs)}, the first {shape}: give the detector's raw model"
        )
    assert dims[2] is not None
    return outputs[0].name, dims[0], dims[2] - 4


def _add_constants(
    graph: onnx.GraphProto,
    points_P2: NDArray[np.float32],
    strides_P: NDArray[np.float32],
    num_classes: int,
    limits: BoxLimits,
) -> None:
    signs = np.array([-1, -1, 1, 1], np.float32)
    num_points = len(points_P2)
    constants: dict[str, NDArray[np.generic]] = {
        "box_centres": np.tile(points_P2, 2)[None].astype(np.float32),
        "box_strides": (strides_P[:, None] * signs)[None].astype(np.float32),
        "box_parts": np.array([4, num_classes]),
        "box_most": np.array([limits.max_boxes]),
        "box_overlap": np.array([limits.max_iou], np.float32),
        "box_least": np.array([limits.min_score], np.float32),
        "box_by_image": np.array([0, -1]),
        "box_kept": np.array([min(limits.max_boxes, num_points * num_classes)]),
        "box_nothing": np.array(0.0, np.float32),
        "box_points": np.array(num_points),
        "box_ones": np.array([1, 1]),
        "box_first": np.array([0]),
    }
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())


def _decoding(raw: str) -> list[NodeProto]:
    """Return nodes that make boxes [N, P, 4] and scores [N, K, P] of the output."""
    return [
        helper.make_node("Split", [raw, "box_parts"], ["box_distances", "box_logits"], axis=2),
        helper.make_node("Mul", ["box_distances", "box_strides"], ["box_offsets"]),
        helper.make_node("Add", ["box_offsets", "box_centres"], ["box_all"]),
        helper.make_node("Sigmoid", ["box_logits"], ["box_probabilities"]),
        helper.make_node("Transpose", ["box_probabilities"], ["box_scores"], perm=[0, 2, 1]),
    ]


def _suppressing() -> list[NodeProto]:
    """Return nodes that put 0 in the place of the scores of boxes that are dropped.

    NonMaxSuppression calls a box y1, x1, y2, x2; with both axes exchanged the overlaps are the same.
    """
    limits = ["box_most", "box_overlap", "box_least"]
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    return [
        helper.make_node("NonMaxSuppression", ["box_all", "box_scores", *limits], ["box_selected"]),
        helper.make_node("GatherND", ["box_scores", "box_selected"], ["box_selected_scores"]),
        helper.make_node("Shape", ["box_scores"], ["box_scores_shape"]),
        helper.make_node("ConstantOfShape", ["box_scores_shape"], ["box_zeros"], value=zero),
        helper.make_node("ScatterND", ["box_zeros", "box_selected", "box_selected_scores"], ["box_left"]),
    ]


def _sorting() -> list[NodeProto]:
    """Return nodes that give the image and the rank of each box [2, D], those with the highest scores of an image."""
    return [
        helper.make_node("Reshape", ["box_left", "box_by_image"], ["box_left_flat"]),
        helper.make_node("TopK", ["box_left_flat", "box_kept"], ["box_top_scores", "box_top_places"], axis=1),
        helper.make_node("Greater", ["box_top_scores", "box_nothing"], ["box_is_found"]),
        helper.make_node("NonZero", ["box_is_found"], ["box_image_rank"]),
        helper.make_node("Transpose", ["box_image_rank"], ["box_ranks"], perm=[1, 0]),
    ]


def _gathering() -> list[NodeProto]:
    """Return nodes that gather what is given of each box; places count through the points of the first class first."""
    return [
        helper.make_node("GatherND", ["box_top_scores", "box_ranks"], [SCORES]),
        helper.make_node("GatherND", ["box_top_places", "box_ranks"], ["box_places"]),
        helper.make_node("Div", ["box_places", "box_points"], [CLASSES]),
        helper.make_node("Mod", ["box_places", "box_points"], ["box_point"]),
        helper.make_node("Unsqueeze", ["box_point", "box_first"], ["box_point_row"]),
        helper.make_node("Split", ["box_image_rank", "box_ones"], ["box_image_row", "box_rank_row"], axis=0),
        helper.make_node("Squeeze", ["box_image_row", "box_first"], [IMAGES]),
        helper.make_node("Concat", ["box_image_row", "box_point_row"], ["box_image_point"], axis=0),
        helper.make_node("Transpose", ["box_image_point"], ["box_image_points"], perm=[1, 0]),
        helper.make_node("GatherND", ["box_all", "box_image_points"], [BOXES]),
    ]
