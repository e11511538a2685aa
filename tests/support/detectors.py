"""Small detectors without training, and what they are to find, by other code than that of the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onnx_models.box_limits import BoxLimits
from onnx_models.boxes import Boxes
from onnx_models.export import export_module


class Given(nn.Module):
    """Gives its input: a detector whose raw output a test chooses."""

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return x_NCHW[:, 0] * 1.0


def save_given(path: Path, num_points: int, num_classes: int, *, batch: int | None = None) -> None:
    """Write a detector that gives its input [N, 1, P, 4 + K] as its raw output."""
    shape = (batch or 1, 1, num_points, 4 + num_classes)
    export_module(Given(), path, input_shapes=[shape], dynamic_batch=batch is None)


def grid(side: int, stride: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the centres of the cells of a level, row by row, and their strides."""
    centres = (np.arange(side, dtype=np.float32) + 0.5) * stride
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1), np.full(side * side, stride, np.float32)


def expected_boxes(
    raw_PC: NDArray[np.float32], points_P2: NDArray[np.float32], strides_P: NDArray[np.float32], limits: BoxLimits
) -> Boxes:
    """Return what an image's raw output means, box after box."""
    found: list[tuple[float, int, NDArray[np.float32]]] = []
    for class_index in range(raw_PC.shape[1] - 4):
        scores = torch.sigmoid(torch.from_numpy(raw_PC[:, 4 + class_index])).numpy()
        kept: list[NDArray[np.float32]] = []
        for point in sorted(range(len(raw_PC)), key=lambda p: -scores[p]):
            x, y = points_P2[point]
            left, top, right, bottom = raw_PC[point, :4] * strides_P[point]
            box = np.array([x - left, y - top, x + right, y + bottom], np.float32)
            if scores[point] <= limits.min_score or any(overlap(box, other) > limits.max_iou for other in kept):
                continue
            kept.append(box)
            found.append((float(scores[point]), class_index, box))
    found.sort(key=lambda one: -one[0])
    scores_D, classes_D, boxes = zip(*found[: limits.max_boxes], strict=True) if found else ((), (), ())
    return Boxes(
        boxes_D4=np.array(boxes, np.float32).reshape(-1, 4),
        scores_D=np.array(scores_D, np.float32),
        classes_D=np.array(classes_D, np.int64),
    )


def overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the intersection of two boxes over their union; 0 where one is empty."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return 0.0 if min(areas) <= 0 else float(width * height / (sum(areas) - width * height))
