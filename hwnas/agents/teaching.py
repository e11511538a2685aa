"""What a detector learns from another one.

Legend: N images, P points, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from hwnas.agents.boxes import generalised_iou
from hwnas.criteria.quality import normaliser

BOX_WEIGHT = 2.0
"""The weight of the loss of boxes beside that of classes, as Feng et al. 2021 have it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionDistillation:
    """Divergence of each class's probability from a teacher's, and of boxes where the teacher sees something.

    Boxes are compared by generalised IoU, weighed by the teacher's largest score at the point: those of background mean
    nothing. Both are divided by the sum of these scores, as a detector's own loss is by the scores that it should give.
    """

    def __call__(self, outputs: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return a scalar; both are distances and class logits of every point, [N, P, 4 + K]."""
        outputs, teacher = outputs.float(), teacher.float()
        scores_NPK = teacher[..., 4:].sigmoid()
        weights_NP = scores_NPK.amax(dim=2)
        classes = _divergences(outputs[..., 4:], teacher[..., 4:]).sum()
        overlaps_NP = generalised_iou(_around_point(outputs), _around_point(teacher))
        boxes = ((1.0 - overlaps_NP) * weights_NP).sum()
        return (classes + BOX_WEIGHT * boxes) / normaliser(weights_NP)


def _divergences(logits_X: torch.Tensor, teacher_X: torch.Tensor) -> torch.Tensor:
    """Return the Kullback-Leibler divergence of each probability to be there or not from a teacher's."""
    scores_X = teacher_X.sigmoid()
    entropies_X = functional.binary_cross_entropy_with_logits(teacher_X, scores_X, reduction="none")
    return functional.binary_cross_entropy_with_logits(logits_X, scores_X, reduction="none") - entropies_X


def _around_point(outputs: torch.Tensor) -> torch.Tensor:
    """Return boxes in strides from their own point, which is all that overlaps depend on."""
    return torch.cat([-outputs[..., :2], outputs[..., 2:4]], dim=-1)
