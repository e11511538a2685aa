"""Segmentation by hand: what is counted, and what is not."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from hwnas.agents import SegmentationAgent

MASK = torch.tensor([[[0, 0, 1, 255], [0, 1, 1, 255]]], dtype=torch.uint8)


def _saying(classes_NHW: torch.Tensor, num_classes: int = 4, sureness: float = 2.0) -> torch.Tensor:
    return sureness * functional.one_hot(classes_NHW.long(), num_classes).permute(0, 3, 1, 2).float()


def test_mean_iou_by_hand() -> None:
    """Class 0 has 3 pixels, 2 of them found; class 1 has 3, all found and one more; no other class is seen."""
    said = torch.tensor([[[0, 1, 1, 2], [0, 1, 1, 3]]])
    found = SegmentationAgent().metrics(lambda x: x, [(_saying(said), MASK)])
    assert found["mean_iou"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert found["pixel_accuracy"] == pytest.approx(5 / 6)
    right, other = math.exp(2) / (math.exp(2) + 3), 1 / (math.exp(2) + 3)
    assert found["likelihood"] == pytest.approx((right**5 * other) ** (1 / 6))


def test_a_class_that_no_mask_has_counts_where_it_is_said() -> None:
    said = torch.tensor([[[0, 0, 1, 1], [0, 1, 2, 1]]])
    found = SegmentationAgent().metrics(lambda x: x, [(_saying(said), MASK)])
    assert found["mean_iou"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_intersections_and_unions_are_of_all_batches_together() -> None:
    said, other = torch.tensor([[[0, 1], [1, 1]]]), torch.tensor([[[1, 1], [1, 1]]])
    batches = [(_saying(said), torch.zeros_like(said)), (_saying(other), other)]
    assert SegmentationAgent().metrics(lambda x: x, batches)["mean_iou"] == pytest.approx((1 / 4 + 4 / 7) / 2)


def test_the_loss_is_the_criterions_over_the_pixels_that_have_a_class() -> None:
    logits = torch.randn(1, 4, 2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = SegmentationAgent().loss(logits, MASK)
    expected = functional.cross_entropy(logits, MASK.long(), ignore_index=255)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None and not logits.grad[..., 3].any() and logits.grad[..., :3].any()
