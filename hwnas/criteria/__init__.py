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


def _cross_entropy(spec: CriterionSpec) -> Criterion:
    """Cross entropy with label smoothing."""
    return SmoothedCrossEntropy(label_smoothing=spec.label_smoothing)


def _focal(_spec: CriterionSpec) -> Criterion:
    """Cross entropy that weighs well-classified images less (Lin et al. 2017)."""
    return Focal()


def _triplet(_spec: CriterionSpec) -> Criterion:
    """Batch-hard triplets of embeddings; wants images_per_class (Hermans et al. 2017)."""
    return BatchHardTriplet()


CRITERIA: dict[str, Callable[[CriterionSpec], Criterion]] = {
    "arcface": _arcface,
    "cross-entropy": _cross_entropy,
    "focal": _focal,
    "triplet": _triplet,
}
"""Criteria by name, made from a spec. Distillation is not among them: strategies use it with a teacher."""

__all__ = [
    "CRITERIA",
    "AdditiveAngularMargin",
    "BatchHardTriplet",
    "Criterion",
    "CriterionSpec",
    "Distillation",
    "EmbeddingDistillation",
    "Focal",
    "SmoothedCrossEntropy",
    "TeacherLoss",
]
