"""Criteria that training minimises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from hwnas.criteria.cross_entropy import SmoothedCrossEntropy
from hwnas.criteria.distillation import Distillation, EmbeddingDistillation, TeacherLoss
from hwnas.criteria.focal import Focal
from hwnas.criteria.metric import AdditiveAngularMargin, BatchHardTriplet
from hwnas.criteria.quality import BinaryCrossEntropy, QualityFocal, Varifocal


class Criterion(Protocol):
    """Network outputs and targets to a loss.

    One that compares the images of a batch says so by an attribute `compares_images`, True: those are not mixed.
    """

    def __call__(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """A scalar, averaged over the batch."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class CriterionSpec:
    """Facts that a criterion may need to know.

    Attributes:
        num_outputs: of the network: classes, or features of an embedding.
        num_classes: among the training images.
    """

    num_outputs: int
    num_classes: int
    label_smoothing: float


def _arcface(spec: CriterionSpec) -> Criterion:
    """Additive angular margin over the training classes, for embeddings (Deng et al. 2019)."""
    return AdditiveAngularMargin(spec.num_outputs, spec.num_classes)


def _binary_cross_entropy(_spec: CriterionSpec) -> Criterion:
    """Cross entropy of a sigmoid for each class."""
    return BinaryCrossEntropy()


def _cross_entropy(spec: CriterionSpec) -> Criterion:
    """Cross entropy with label smoothing."""
    return SmoothedCrossEntropy(label_smoothing=spec.label_smoothing)


def _focal(_spec: CriterionSpec) -> Criterion:
    """Cross entropy that weighs well-classified images less (Lin et al. 2017)."""
    return Focal()


def _quality_focal(_spec: CriterionSpec) -> Criterion:
    """Binary cross entropy, weighed by how far scores are off (Li et al. 2020)."""
    return QualityFocal()


def _triplet(_spec: CriterionSpec) -> Criterion:
    """Batch-hard triplets of embeddings; wants images_per_class (Hermans et al. 2017)."""
    return BatchHardTriplet()


def _varifocal(_spec: CriterionSpec) -> Criterion:
    """Binary cross entropy that weighs what is nothing less, the surer it is (Zhang et al. 2021)."""
    return Varifocal()


CRITERIA: dict[str, Callable[[CriterionSpec], Criterion]] = {
    "arcface": _arcface,
    "binary-cross-entropy": _binary_cross_entropy,
    "cross-entropy": _cross_entropy,
    "focal": _focal,
    "quality-focal": _quality_focal,
    "triplet": _triplet,
    "varifocal": _varifocal,
}
"""Criteria by name, made from a spec. Distillation is not among them: strategies use it with a teacher."""

__all__ = [
    "CRITERIA",
    "AdditiveAngularMargin",
    "BatchHardTriplet",
    "BinaryCrossEntropy",
    "Criterion",
    "CriterionSpec",
    "Distillation",
    "EmbeddingDistillation",
    "Focal",
    "QualityFocal",
    "SmoothedCrossEntropy",
    "TeacherLoss",
    "Varifocal",
]
