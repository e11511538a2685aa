"""Decoding and suppression inside graphs, against code that goes box by box."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from detectors import expected_boxes, grid, save_given
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from onnx_models.box_limits import BoxLimits
from onnx_models.box_parity import box_parity, differences_of
from onnx_models.boxes import Boxes, OnnxDetector, with_suppression
from onnx_models.export import export_module
from onnx_models.pixels import with_preprocessing

SIDE, STRIDE, NUM_CLASSES = 4, 8, 3
POINTS_P2, STRIDES_P = grid(SIDE, STRIDE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detectors")


def detector(folder: Path, limits: BoxLimits, *, batch: int | None = None) -> OnnxDetector:
    """Return the detector that is given its raw output."""
    raw, whole = folder / f"raw-{batch}.onnx", folder / "whole.onnx"
    if not raw.exists():
        save_given(raw, SIDE**2, NUM_CLASSES, batch=batch)
    with_suppression(raw, whole, POINTS_P2, STRIDES_P, limits=limits)
    return OnnxDetector(whole)


def random_raw(seed: int, num_images: int, *, spread: float, ties: bool) -> NDArray[np.float32]:
    """Return raw outputs of as many images; with ties, of few different scores."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(0, 3, (num_images, SIDE**2, 4 + NUM_CLASSES)).astype(np.float32)
    logits = rng.normal(-1, spread, (num_images, SIDE**2, NUM_CLASSES))
    raw[:, :, 4:] = np.round(logits) if ties else logits
    return raw


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 3),
    min_score=st.sampled_from([0.0, 0.05, 0.5, 0.99]),
    max_iou=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
    max_boxes=st.sampled_from([1, 3, 100]),
    spread=st.sampled_from([0.1, 3.0]),
    ties=st.booleans(),
)
def test_a_model_finds_the_boxes_that_its_raw_output_means(
    seed: int,
    num_images: int,
    min_score: float,
    max_iou: float,
    max_boxes: int,
    spread: float,
    ties: bool,
    folder: Path,
) -> None:
    limits = BoxLimits(min_score=min_score, max_iou=max_iou, max_boxes=max_boxes)
    raw_NPC = random_raw(seed, num_images, spread=spread, ties=ties)
    found = detector(folder, limits)(torch.from_numpy(raw_NPC[:, None]))
    for raw_PC, boxes in zip(raw_NPC, found, strict=True):
        expected = expected_boxes(raw_PC, POINTS_P2, STRIDES_P, limits)
        if not ties:
            assert differences_of(expected, boxes, max_boxes) is not None
        else:  # which of two boxes of one score drops the other is free
            np.testing.assert_allclose(expected.scores_D[:1], boxes.scores_D[:1], rtol=1e-5)
        assert (np.diff(boxes.scores_D) <= 0).all() and len(boxes) <= max_boxes


def test_batches_and_no_boxes(folder: Path) -> None:
    limits = BoxLimits(min_score=0.5)
    raw_NPC = random_raw(1, 5, spread=2.0, ties=False)
    raw_NPC[1, :, 4:] = -9.0  # an image without any
    by_batch = {batch: detector(folder, limits, batch=batch) for batch in (1, 2)}
    assert by_batch[1].batch == 1 and by_batch[2].batch == 2
    for batch in (None, 1, 2):
        found = detector(folder, limits, batch=batch)(torch.from_numpy(raw_NPC[:, None]))
        assert len(found) == 5 and len(found[1]) == 0 and found[1].boxes_D4.shape == (0, 4)
        for raw_PC, boxes in zip(raw_NPC, found, strict=True):
            assert differences_of(expected_boxes(raw_PC, POINTS_P2, STRIDES_P, limits), boxes, 100) is not None


def test_boxes_of_equal_scores(folder: Path) -> None:
    raw_NPC = np.full((1, SIDE**2, 4 + NUM_CLASSES), -9.0, np.float32)
    raw_NPC[:, :, :4] = 0.4  # boxes beside each other
    raw_NPC[0, :, 4] = 1.0
    limits = BoxLimits()
    expected = expected_boxes(raw_NPC[0], POINTS_P2, STRIDES_P, limits)
    (found,) = detector(folder, limits)(torch.from_numpy(raw_NPC[:, None]))
    assert len(found) == SIDE**2 and differences_of(expected, found, 100) == (0.0, 0.0)
    (few,) = detector(folder, replace(limits, max_boxes=5))(torch.from_numpy(raw_NPC[:, None]))
    backwards = Boxes(boxes_D4=expected.boxes_D4[:-6:-1], scores_D=expected.scores_D[:5], classes_D=few.classes_D)
    assert len(few) == 5 and differences_of(backwards, few, 5) is not None
    assert differences_of(backwards, few, 6) is None  # there would have been room for those that are missing


def test_parity_counts_what_differs(folder: Path) -> None:
    limits = BoxLimits()
    raw_NPC = random_raw(3, 4, spread=2.0, ties=False)
    found = detector(folder, limits)(torch.from_numpy(raw_NPC[:, None]))
    expected = [partial(expected_boxes, raw, POINTS_P2, STRIDES_P) for raw in raw_NPC]
    same = box_parity(zip(expected, found, strict=True), limits)
    assert same.holds and same.num_images == 4 and same.num_boxes == sum(map(len, found)) > 20
    moved = replace(found[2], boxes_D4=found[2].boxes_D4 + np.float32(0.01))
    others = [*found[:2], moved, replace(found[3], classes_D=(found[3].classes_D + 1) % NUM_CLASSES)]
    different = box_parity(zip(expected, others, strict=True), limits)
    assert not different.holds and different.num_unequal == 2
    # An overlap that is just at the limit may fall to either side.
    lower = replace(limits, max_iou=limits.max_iou - 5e-6)
    assert box_parity(zip(expected, found, strict=True), lower).num_unequal == 0


def test_an_overlap_at_its_limit_may_fall_to_either_side() -> None:
    points_P2, strides_P = np.array([[8, 8], [8, 12]], np.float32), np.array([8, 8], np.float32)
    raw_PC = np.array([[1, 1, 1, 1, 2.0], [1, 1, 1, 1, 1.0]], np.float32)  # three quarters of 16 pixels in common
    at_limit = BoxLimits(max_iou=0.6)
    both = expected_boxes(raw_PC, points_P2, strides_P, replace(at_limit, max_iou=0.7))
    one = expected_boxes(raw_PC, points_P2, strides_P, replace(at_limit, max_iou=0.5))
    assert (len(both), len(one)) == (2, 1)
    for found in (both, one):
        parity = box_parity([(partial(expected_boxes, raw_PC, points_P2, strides_P), found)], at_limit)
        assert parity.holds and parity.num_at_limits <= 1
    far = replace(at_limit, max_iou=0.55)
    assert not box_parity([(partial(expected_boxes, raw_PC, points_P2, strides_P), both)], far).holds


def test_detectors_of_pixels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4 + NUM_CLASSES, STRIDE, STRIDE), nn.Flatten(2), Transposed(), nn.ReLU())
    export_module(module.eval(), tmp_path / "raw.onnx", input_shapes=[(1, 3, 32, 32)])
    with_suppression(tmp_path / "raw.onnx", tmp_path / "b.onnx", POINTS_P2, STRIDES_P, limits=BoxLimits())
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    with_preprocessing(tmp_path / "b.onnx", tmp_path / "p.onnx", mean=mean, std=std, gives_probabilities=False)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    x_NCHW = (pixels / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    for of_floats, of_pixels in zip(
        OnnxDetector(tmp_path / "b.onnx")(x_NCHW), OnnxDetector(tmp_path / "p.onnx")(pixels), strict=True
    ):
        assert len(of_floats) and differences_of(of_floats, of_pixels, 100) is not None
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx")
    assert [node.name for node in session.get_outputs()] == ["boxes", "scores", "classes"]


class Transposed(nn.Module):
    def forward(self, x_NCP: torch.Tensor) -> torch.Tensor:
        return x_NCP.transpose(1, 2)


@pytest.mark.parametrize(
    "wrong", [{"min_score": 1.0}, {"max_iou": -0.1}, {"max_boxes": 0}, {"min_score": float("nan")}]
)
def test_impossible_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected a least score"):
        BoxLimits(**wrong)  # type: ignore[arg-type]


def test_a_classifier_is_no_detector(tmp_path: Path) -> None:
    export_module(nn.Flatten(), tmp_path / "m.onnx", input_shapes=[(1, 1, 4, 4)])
    with pytest.raises(ValueError, match="expected one output of 16 points"):
        with_suppression(tmp_path / "m.onnx", tmp_path / "b.onnx", POINTS_P2, STRIDES_P, limits=BoxLimits())
