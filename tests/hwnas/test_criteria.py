"""Losses by hand and against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from hwnas.criteria import (
    AdditiveAngularMargin,
    BatchHardTriplet,
    BinaryCrossEntropy,
    Distillation,
    Focal,
    QualityFocal,
    SmoothedCrossEntropy,
    Varifocal,
)

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
TARGETS = torch.tensor([0, 1])


def test_focal_is_cross_entropy_at_gamma_0_and_weighs_easy_images_less() -> None:
    plain = SmoothedCrossEntropy()(LOGITS, TARGETS)
    torch.testing.assert_close(Focal(gamma=0.0)(LOGITS, TARGETS), plain)
    p = torch.softmax(LOGITS, dim=1)[torch.arange(2), TARGETS]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    torch.testing.assert_close(Focal()(LOGITS, TARGETS), expected)


def test_distillation_is_zero_for_equal_outputs_and_its_gradient_the_difference_of_probabilities() -> None:
    student = LOGITS.clone().requires_grad_()
    assert Distillation()(student, LOGITS).item() == pytest.approx(0.0, abs=1e-7)
    teacher = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    Distillation()(student, teacher).backward()
    expected = (torch.softmax(LOGITS, 1) - torch.softmax(teacher, 1)) / 2
    torch.testing.assert_close(student.grad, expected)


def test_triplet_by_hand() -> None:
    """Unit vectors at 0, 60, 90 and 180 degrees, two by two."""
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 90.0, 180.0]))
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    chord = lambda degrees: 2 * math.sin(math.radians(degrees) / 2)  # noqa: E731
    pairs = [(60, 90), (60, 30), (90, 30), (90, 120)]
    expected = sum(max(0.0, chord(far) - chord(near) + 0.3) for far, near in pairs) / 4
    found = BatchHardTriplet()(embeddings, torch.tensor([0, 0, 1, 1]))
    assert float(found) == pytest.approx(expected, abs=1e-4)
    assert float(BatchHardTriplet()(embeddings, torch.tensor([0, 0, 0, 0]))) == 0.0
    assert float(BatchHardTriplet()(embeddings, torch.tensor([0, 1, 2, 3]))) == 0.0


def test_angular_margin_makes_the_right_class_harder() -> None:
    torch.manual_seed(0)
    criterion = AdditiveAngularMargin(4, 3, scale=10.0, margin=0.5)
    embeddings = torch.randn(6, 4)
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    cosine = functional.normalize(embeddings) @ functional.normalize(criterion.centres).T
    without = functional.cross_entropy(10.0 * cosine, targets)
    assert criterion(embeddings, targets) > without
    plain = AdditiveAngularMargin(4, 3, scale=10.0, margin=0.0)
    plain.load_state_dict(criterion.state_dict())
    torch.testing.assert_close(plain(embeddings, targets), without, rtol=1e-4, atol=1e-5)
    criterion(embeddings, targets).backward()
    assert torch.isfinite(criterion.centres.grad).all()


def test_distillation_of_pixels_is_the_mean_of_that_of_each_pixel() -> None:
    student, teacher = torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    pixels = [x.permute(0, 2, 3, 1).reshape(-1, 3) for x in (student, teacher)]
    torch.testing.assert_close(Distillation(temperature=2.0)(student, teacher), Distillation(temperature=2.0)(*pixels))


SCORES = torch.tensor([[0.8, 0.0, 0.0], [0.0, 0.6, 0.3]])


def test_sigmoid_losses_are_divided_by_the_scores_that_should_be_given() -> None:
    entropies = functional.binary_cross_entropy(LOGITS.sigmoid(), SCORES, reduction="none")
    torch.testing.assert_close(BinaryCrossEntropy()(LOGITS, SCORES), entropies.sum() / 1.7)
    torch.testing.assert_close(QualityFocal(gamma=0.0)(LOGITS, SCORES), entropies.sum() / 1.7)
    off = (LOGITS.sigmoid() - SCORES) ** 2
    torch.testing.assert_close(QualityFocal()(LOGITS, SCORES), (off * entropies).sum() / 1.7)
    weights = torch.where(SCORES > 0, SCORES, 0.75 * LOGITS.sigmoid() ** 2)
    torch.testing.assert_close(Varifocal()(LOGITS, SCORES), (weights * entropies).sum() / 1.7)
    nothing = functional.binary_cross_entropy_with_logits(LOGITS, torch.zeros(2, 3), reduction="sum")
    torch.testing.assert_close(BinaryCrossEntropy()(LOGITS, torch.zeros(2, 3)), nothing)


@pytest.mark.parametrize("criterion", [BinaryCrossEntropy(), QualityFocal(), Varifocal()])
def test_sigmoid_losses_take_a_class_for_a_score_of_1(criterion: BinaryCrossEntropy) -> None:
    torch.testing.assert_close(criterion(LOGITS, TARGETS), criterion(LOGITS, functional.one_hot(TARGETS, 3).float()))
