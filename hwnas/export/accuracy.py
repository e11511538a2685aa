"""Accuracy of any ONNX classifier on test images, or why it cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.dataflow import Batches, Dataset
from hwnas.quantities import share
from onnx_models.boxes import gives_boxes
from onnx_models.image_size import ImageSize, image_size
from onnx_models.session import OnnxNetwork

TEST_BATCH, DENSE_TEST_BATCH = 256, 16
"""Test images at a time, and of networks that tell something of every point or pixel, whose outputs are large."""


Found = TypeVar("Found")

AtSize = Callable[[ImageSize], Dataset] | None
"""Gives the data at the size that a model takes; None where they have to be of that size."""


class NoAccuracyError(Exception):
    """Why a model's accuracy on the data cannot be told."""


def accuracy(path: Path, output: str | None, dataset: Dataset, at_size: AtSize = None) -> float:
    """Return the share of test images whose class the model tells; a fixed batch size is filled up.

    Models of pixels (uint8) are given the images as they are, those of floats normalised ones.

    Args:
        path: a model whose dimensions are fixed.
        output: which of its outputs tells the class; None where it has one.
        at_size: gives the data at the size that the model takes; None where they have to be of that size.

    Raises:
        NoAccuracyError: the model takes or gives something else than images and classes of these data.
    """
    if dataset.target_kind != "classes":
        raise NoAccuracyError(f"{dataset.name} has {dataset.target_kind}, expected a class for each image")
    network = network_of(path, output)
    dataset = fitting_images(network, dataset, at_size)
    correct = 0
    for images, targets_N in test_batches(network, dataset):
        parts = given(network.raw, images)
        predicted = [predicted_classes(p, network.batch or len(images), len(dataset.classes)) for p in parts]
        correct += int((np.concatenate(predicted)[: len(images)] == targets_N.numpy()).sum())
    return share(correct, len(dataset.test))


def given(model: Callable[[torch.Tensor], Found], images: torch.Tensor) -> Found:
    """Return what a model gives for images.

    Raises:
        NoAccuracyError: it cannot run on them.
    """
    try:
        return model(images)
    except Exception as error:  # onnxruntime raises many kinds of its own
        raise NoAccuracyError(f"it cannot run on these images: {str(error).splitlines()[0]}") from error


def test_batches(network: OnnxNetwork, dataset: Dataset) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Return the test images as a model takes them, and their targets."""
    size = test_batch_size(dataset)
    if network.takes_pixels:
        return dataset.test.chunks(size)
    return Batches.of(dataset, dataset.test, size).in_order()


def test_batch_size(dataset: Dataset) -> int:
    """Return how many test images are given to a model at a time."""
    return TEST_BATCH if dataset.target_kind == "classes" else DENSE_TEST_BATCH


def predicted_classes(values: object, num_images: int, num_classes: int) -> NDArray[np.int64]:
    """Return [num_images] classes from what a model gave: a score for each class, or the class itself as an integer.

    Raises:
        NoAccuracyError: it is neither, or of another number of classes.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise NoAccuracyError(f"it gives {kind}, expected numbers")
    wide = [size for size in values.shape[1:] if size != 1]
    is_by_image = values.shape[:1] == (num_images,)
    if is_by_image and not wide and values.dtype.kind != "f":
        labels: NDArray[np.int64] = values.reshape(num_images).astype(np.int64)
        if wrong := [int(label) for label in labels if not 0 <= label < num_classes]:
            raise NoAccuracyError(f"it tells class {wrong[0]}, the data have {num_classes} (0 to {num_classes - 1})")
        return labels
    if not (is_by_image and len(wide) <= 1 and values.ndim > 1) and not (num_images == 1 and values.ndim == 1):
        shape = "x".join(map(str, values.shape)) or "a scalar"
        raise NoAccuracyError(f"it gives {shape} for {num_images} images, expected {num_images}x{num_classes}")
    scores_NK = values.reshape(num_images, -1)
    if scores_NK.shape[1] != num_classes:
        raise NoAccuracyError(
            f"it gives {scores_NK.shape[1]} outputs for each image, the data have {num_classes} classes"
        )
    if np.isnan(scores_NK).any():
        raise NoAccuracyError("it gives NaN")
    best: NDArray[np.int64] = scores_NK.argmax(axis=1)
    return best


def network_of(path: Path, output: str | None) -> OnnxNetwork:
    """Return the model, looked at by one of its outputs.

    Raises:
        NoAccuracyError: it has no such output, several where none is named, or several inputs.
    """
    try:
        return OnnxNetwork(path, output)
    except ValueError as error:
        if gives_boxes(path):
            raise NoAccuracyError("it is no classifier: it gives boxes") from error
        raise NoAccuracyError(str(error)) from error


def fitting_images(network: OnnxNetwork, dataset: Dataset, at_size: AtSize) -> Dataset:
    """Return the data at the size that the model takes.

    Raises:
        NoAccuracyError: it takes something else than such images.
    """
    if at_size is not None and (size := _other_size(network, dataset)) is not None:
        dataset = at_size(size)
    _require_images(network, dataset)
    return dataset


def _other_size(network: OnnxNetwork, dataset: Dataset) -> ImageSize | None:
    """Return the size of images that a model takes; None where it is that of the data, or they would not do anyway."""
    node: Any = network.input
    if len(node.shape) != 4 or node.shape[1] != dataset.in_channels:
        return None
    size = image_size(*node.shape[2:])
    return None if size == dataset.input_size else size


def _require_images(network: OnnxNetwork, dataset: Dataset) -> None:
    node: Any = network.input
    if network.takes_pixels and not dataset.is_of_pixels:
        raise NoAccuracyError(f"it takes uint8, and {dataset.name} holds floats, which are normalised")
    if not (network.takes_pixels or network.float_type):
        raise NoAccuracyError(
            f"it takes {node.type.removeprefix('tensor(').rstrip(')')}, expected images as floats or uint8"
        )
    found = "x".join(map(str, node.shape[1:])) or "a number"
    wanted = "x".join(map(str, dataset.input_shape))
    if found != wanted:
        raise NoAccuracyError(f"it takes {found}, {dataset.name} has {wanted}: give --input-size, or other data")
