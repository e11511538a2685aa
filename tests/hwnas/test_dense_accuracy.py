"""Detectors and segmenters that somebody has, scored on images whose boxes and masks are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import squares
import torch
from onnx import TensorProto as Kind
from onnx import helper
from small_models import save_graph, value

from hwnas.dataflow import Augmentation, Dataset, Split
from hwnas.export.accuracy import NoAccuracyError
from hwnas.export.dense_accuracy import box_precision, mask_overlap

PIXELS = value("x", [1, 1, squares.SIZE, squares.SIZE], Kind.UINT8)
BOX = (4.0, 6.0, 20.0, 18.0)


def save_segmenter(path: Path, order: tuple[str, str, str]) -> Path:
    """Write a model that tells the classes of squares by their brightness, which it gives in another order."""
    nodes = [
        helper.make_node("Cast", ["x"], ["v"], to=Kind.FLOAT),
        helper.make_node("Sub", ["v", "middle"], ["off"]),
        helper.make_node("Abs", ["off"], ["far"]),
        helper.make_node("Sub", ["reach", "far"], ["background"]),
        helper.make_node("Sub", ["v", "high"], ["bright"]),
        helper.make_node("Sub", ["low", "v"], ["dark"]),
        helper.make_node("Concat", list(order), ["y"], axis=1),
    ]
    constants = {"middle": 125, "reach": 60, "high": 165, "low": 85}
    weights = {name: np.array(number, np.float32) for name, number in constants.items()}
    return save_graph(path, nodes, [PIXELS], [value("y", [1, 3, squares.SIZE, squares.SIZE])], **weights)


def save_detector(path: Path, box: tuple[float, ...], kind: int) -> Path:
    """Write a model that finds the same box on every image."""
    arrays = {"b": np.array([box], np.float32), "s": np.array([0.9], np.float32), "c": np.array([kind], np.int64)}
    names = {"b": "boxes", "s": "scores", "c": "classes"}
    outputs = [value("boxes", ["D", 4]), value("scores", ["D"]), value("classes", ["D"], Kind.INT64)]
    nodes = [helper.make_node("Identity", [name], [output]) for name, output in names.items()]
    return save_graph(path, nodes, [PIXELS], outputs, **arrays)


def one_box_each() -> Dataset:
    images_NCHW = torch.zeros(20, 1, squares.SIZE, squares.SIZE, dtype=torch.uint8)
    split = Split(images_NCHW=images_NCHW, targets_N=torch.tensor([1.0, *BOX]).repeat(20, 1, 1))
    return Dataset(
        name="boxes", classes=("a", "b"), train=split, test=split, augmentation=Augmentation(), target_kind="boxes"
    )


@pytest.mark.parametrize(
    ("order", "expected"), [(("background", "bright", "dark"), 1.0), (("background", "dark", "bright"), 1 / 3)]
)
def test_overlap_counts_each_class_alike(order: tuple[str, str, str], expected: float, tmp_path: Path) -> None:
    path = save_segmenter(tmp_path / "m.onnx", order)
    assert mask_overlap(path, None, squares.masks(tmp_path)) == pytest.approx(expected)


def test_pixels_without_a_class_count_for_nothing(tmp_path: Path) -> None:
    dataset = squares.masks(tmp_path)
    masks_NHW = dataset.test.targets_N.clone()
    masks_NHW[masks_NHW > 0] = 255
    ignoring = replace(dataset, test=replace(dataset.test, targets_N=masks_NHW))
    path = save_segmenter(tmp_path / "m.onnx", ("background", "dark", "bright"))
    assert mask_overlap(path, None, ignoring) == 1.0


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (BOX, 1.0),
        ((4.0, 6.0, 20.0, 26.0), 0.3),  # 0.6 of it: as good as found at 0.5, 0.55 and 0.6 of ten overlaps
        ((4.0, 6.0, 20.0, 12.0), 0.1),
        ((22.0, 6.0, 30.0, 18.0), 0.0),
    ],
)
def test_precision_is_over_ten_overlaps(box: tuple[float, ...], expected: float, tmp_path: Path) -> None:
    path = save_detector(tmp_path / "m.onnx", box, 1)
    assert box_precision(path, None, one_box_each()) == pytest.approx(expected, abs=1e-6)


def test_other_outputs_and_classes_are_refused_by_name(tmp_path: Path) -> None:
    detector = save_detector(tmp_path / "d.onnx", BOX, 7)
    segmenter = save_segmenter(tmp_path / "s.onnx", ("background", "dark", "bright"))
    with pytest.raises(NoAccuracyError, match="tells class 7, the data have 2"):
        box_precision(detector, None, one_box_each())
    with pytest.raises(NoAccuracyError, match="it gives no boxes, expected outputs boxes, scores and classes"):
        box_precision(segmenter, None, one_box_each())
    with pytest.raises(NoAccuracyError, match="it is no classifier: it gives boxes"):
        mask_overlap(detector, None, squares.masks(tmp_path))
    two = replace(squares.masks(tmp_path), classes=("background", "bright", "dark", "more"))
    with pytest.raises(NoAccuracyError, match=r"it gives 3x32x32 for each image, expected .* 4x32x32"):
        mask_overlap(segmenter, None, two)


def test_a_detector_that_fails_on_images_is_no_traceback(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),  # of black images none, which are no four numbers
        helper.make_node("Cast", ["places"], ["numbers"], to=Kind.FLOAT),
        helper.make_node("Reshape", ["numbers", "shape"], ["boxes"]),
        helper.make_node("Identity", ["s"], ["scores"]),
        helper.make_node("Identity", ["c"], ["classes"]),
    ]
    outputs = [value("boxes", [1, 4]), value("scores", [1]), value("classes", [1], Kind.INT64)]
    weights = {"s": np.ones(1, np.float32), "c": np.ones(1, np.int64), "shape": np.array([1, 4])}
    path = save_graph(tmp_path / "m.onnx", nodes, [PIXELS], outputs, **weights)
    with pytest.raises(NoAccuracyError, match="it cannot run on these images"):
        box_precision(path, None, one_box_each())
