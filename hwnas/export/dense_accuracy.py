"""How well any ONNX detector or segmenter does on test images, or why that cannot be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.agents.average_precision import average_precision
from hwnas.agents.segmentation import confusion, mean_iou
from hwnas.dataflow import Dataset
from hwnas.dataflow.targets import IGNORED
from hwnas.export.accuracy import AtSize, NoAccuracyError, fitting_images, given, network_of, test_batches
from hwnas.export.detector import as_detections
from onnx_models.boxes import BOXES, OnnxDetector, gives_boxes


def box_precision(path: Path, output: str | None, dataset: Dataset, at_size: AtSize = None) -> float:
    """Return COCO's mean average precision of the boxes that a model with suppression inside gives.

    Args:
        path: a model whose dimensions are fixed, with the outputs boxes, scores and classes.
        output: of no meaning for models that give boxes.
        at_size: gives the data at the size that the model takes; None where they have to be of that size.

    Raises:
        NoAccuracyError: the model takes or gives something else than images and boxes of these data.
    """
    if not gives_boxes(path):
        raise NoAccuracyError(
            "it gives no boxes, expected outputs boxes, scores and classes: export the run, and give model.boxes.onnx"
        )
    network = network_of(path, BOXES)
    dataset = fitting_images(network, dataset, at_size)
    detector, found, targets = OnnxDetector(path), [], []
    for images, targets_NM5 in test_batches(network, dataset):
        boxes = given(detector, network.typed(images))
        if any((one.classes_D >= len(dataset.classes)).any() for one in boxes):
            highest = max(int(one.classes_D.max(initial=0)) for one in boxes)
            raise NoAccuracyError(f"it tells class {highest}, the data have {len(dataset.classes)}")
        found.append(as_detections(boxes))
        targets.append(targets_NM5)
    return average_precision(found, targets)[0]


def mask_overlap(path: Path, output: str | None, dataset: Dataset, at_size: AtSize = None) -> float:
    """Return the mean intersection over union of the classes that a model tells of pixels.

    Args:
        path: a model whose dimensions are fixed.
        output: which of its outputs tells the classes; None where it has one.
        at_size: gives the data at the size that the model takes; None where they have to be of that size.

    Raises:
        NoAccuracyError: the model takes or gives something else than images and masks of these data.
    """
    network = network_of(path, output)
    dataset = fitting_images(network, dataset, at_size)
    num_classes = len(dataset.classes)
    confusion_KK = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for images, targets_NHW in test_batches(network, dataset):
        outputs = given(network.raw, images)
        parts = [_pixel_classes(part, tuple(targets_NHW.shape[1:]), num_classes) for part in outputs]
        found_NHW = torch.from_numpy(np.concatenate(parts)[: len(images)])
        is_known = targets_NHW != IGNORED
        confusion_KK += confusion(found_NHW[is_known], targets_NHW[is_known], num_classes)
    return mean_iou(confusion_KK) if confusion_KK.any() else 0.0


def _pixel_classes(values: NDArray[Any], size: tuple[int, ...], num_classes: int) -> NDArray[np.int64]:
    """Return the class [N, H, W] of every pixel: the output itself as integers, or the best of [N, K, H, W] scores."""
    if values.dtype.kind == "f" and values.shape[1:] == (num_classes, *size):
        best: NDArray[np.int64] = values.argmax(axis=1)
        return best
    if values.dtype.kind in "iu" and values.shape[1:] == size and values.min() >= 0 and values.max() < num_classes:
        return values.astype(np.int64)
    found, wanted = ("x".join(map(str, shape)) for shape in (values.shape[1:], (num_classes, *size)))
    raise NoAccuracyError(f"it gives {found} for each image, expected a score of every class and pixel, {wanted}")
