"""Boxes in torch: how far two overlap, and the suppression of those that show one object twice.

Legend: N images, P points, K classes, C candidates, B boxes that are left. A box is x1, y1, x2, y2, in pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from onnx_models.box_limits import USUAL_LIMITS, BoxLimits

SMALLEST_AREA = 1e-4
"""The area that quotients of areas are divided by at least, so that empty boxes have finite gradients."""


class Detections(NamedTuple):
    """The boxes of images, those of the highest scores first; unused rows have class -1, score 0 and a box of zeros."""

    boxes_NB4: torch.Tensor
    scores_NB: torch.Tensor
    classes_NB: torch.Tensor


def areas(boxes_X4: torch.Tensor) -> torch.Tensor:
    """Return the areas of boxes; 0 for those whose sides are in the wrong order."""
    width_height = (boxes_X4[..., 2:] - boxes_X4[..., :2]).clamp(min=0)
    return width_height[..., 0] * width_height[..., 1]


def iou(one_X4: torch.Tensor, other_X4: torch.Tensor) -> torch.Tensor:
    """Return the intersection over union of boxes, 0 to 1; leading axes are broadcast."""
    overlap_X, union_X = _overlap_and_union(one_X4, other_X4)
    return overlap_X / union_X.clamp(min=SMALLEST_AREA)


def generalised_iou(one_X4: torch.Tensor, other_X4: torch.Tensor) -> torch.Tensor:
    """Return IoU less the empty share of the smallest box around both, -1 to 1 (Rezatofighi et al. 2019, GIoU).

    Unlike IoU it has a gradient for boxes that do not touch. Leading axes are broadcast.
    """
    overlap_X, union_X = _overlap_and_union(one_X4, other_X4)
    around_X4 = torch.cat(
        [torch.minimum(one_X4[..., :2], other_X4[..., :2]), torch.maximum(one_X4[..., 2:], other_X4[..., 2:])], dim=-1
    )
    around_X = areas(around_X4)
    return overlap_X / union_X.clamp(min=SMALLEST_AREA) - (around_X - union_X) / around_X.clamp(min=SMALLEST_AREA)


def _overlap_and_union(one_X4: torch.Tensor, other_X4: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    first_X2 = torch.maximum(one_X4[..., :2], other_X4[..., :2])
    last_X2 = torch.minimum(one_X4[..., 2:], other_X4[..., 2:])
    overlap_X = areas(torch.cat([first_X2, last_X2], dim=-1))
    return overlap_X, areas(one_X4) + areas(other_X4) - overlap_X


def suppressed(
    boxes_P4: torch.Tensor, scores_PK: torch.Tensor, limits: BoxLimits = USUAL_LIMITS
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the boxes [B, 4], scores [B] and classes [B] of one image that are left of all points' boxes.

    As ONNX's NonMaxSuppression does it: of each class the box of the highest score is taken, those of its class that
    overlap it by more than a limit are not, and so on. The highest scores of all classes are first; equal scores are in
    the order of their points.

    Args:
        scores_PK: a score of each class for every box; those up to a limit count for nothing.
    """
    found = suppressed_in_images(boxes_P4[None], scores_PK[None], limits)
    return found.boxes_NB4[0], found.scores_NB[0], found.classes_NB[0]


def suppressed_in_images(
    boxes_NP4: torch.Tensor,
    scores_NPK: torch.Tensor,
    limits: BoxLimits = USUAL_LIMITS,
    *,
    max_candidates: int | None = None,
) -> Detections:
    """Return what `suppressed` does for several images at once, filled up to the most boxes that one of them has.

    Boxes are taken one an image at a time: classes do not meet, so the order of all scores is that of each class too.

    Args:
        max_candidates: boxes of an image, the highest scores, that are looked at; None for all.
    """
    num_classes = scores_NPK.shape[2]
    scores_NC, places_NC = scores_NPK.flatten(1).sort(dim=1, descending=True, stable=True)
    num = int((scores_NC > limits.min_score).sum(dim=1).amax())
    num = num if max_candidates is None else min(num, max_candidates)
    scores_NC, places_NC = scores_NC[:, :num], places_NC[:, :num]
    classes_NC = places_NC % num_classes
    boxes_NC4 = boxes_NP4.gather(1, (places_NC // num_classes)[..., None].expand(-1, -1, 4))
    is_left_NC = scores_NC > limits.min_score
    taken: list[torch.Tensor] = []
    while len(taken) < limits.max_boxes and bool(is_left_NC.any()):
        first_N1 = is_left_NC.byte().argmax(dim=1, keepdim=True)
        taken.append(torch.where(is_left_NC.gather(1, first_N1), first_N1, -1))
        box_N14 = boxes_NC4.gather(1, first_N1[..., None].expand(-1, -1, 4))
        is_same_NC = classes_NC == classes_NC.gather(1, first_N1)
        is_left_NC &= ~(is_same_NC & (iou(box_N14, boxes_NC4) > limits.max_iou))
        is_left_NC.scatter_(1, first_N1, value=False)
    return _chosen(boxes_NC4, scores_NC, classes_NC, taken)


def _chosen(
    boxes_NC4: torch.Tensor, scores_NC: torch.Tensor, classes_NC: torch.Tensor, taken: list[torch.Tensor]
) -> Detections:
    """Return the candidates at those positions, each [N, 1] and -1 for none."""
    if not taken:
        return Detections(boxes_NC4[:, :0], scores_NC[:, :0], classes_NC[:, :0])
    chosen_NB = torch.cat(taken, dim=1)
    is_used_NB, places_NB = chosen_NB >= 0, chosen_NB.clamp(min=0)
    return Detections(
        boxes_NC4.gather(1, places_NB[..., None].expand(-1, -1, 4)) * is_used_NB[..., None],
        scores_NC.gather(1, places_NB) * is_used_NB,
        torch.where(is_used_NB, classes_NC.gather(1, places_NB), -1),
    )
