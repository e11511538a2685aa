"""Which point of a detector is to find which box: task-aligned assignment.

Legend: N images, P points, M boxes of an image (filled up), K classes. A box is x1, y1, x2, y2, in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hwnas.agents.boxes import iou

NUM_POINTS, SCORE_POWER, IOU_POWER = 13, 1.0, 6.0
"""Points for each box, and the powers of the alignment: those of Feng et al. 2021, section 4.1."""

LEAST_QUALITY = 0.01
"""The quality of assigned points at least, so that points whose boxes miss entirely learn where the box is."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Assigned:
    """Holds what every point is to find.

    Attributes:
        boxes_NP4: zeros where it is to find nothing.
        classes_NP: -1 where it is to find nothing.
        qualities_NP: the score that it should give its class, 0 to 1; 0 where it is to find nothing.
    """

    boxes_NP4: torch.Tensor
    classes_NP: torch.Tensor
    qualities_NP: torch.Tensor

    def scores(self, num_classes: int) -> torch.Tensor:
        """Return the scores [N, P, K] that the points should give."""
        classes_K = torch.arange(num_classes, device=self.classes_NP.device)
        return torch.where(self.classes_NP[..., None] == classes_K, self.qualities_NP[..., None], 0.0)


@torch.no_grad()
def assigned(
    scores_NPK: torch.Tensor, boxes_NP4: torch.Tensor, targets_NM5: torch.Tensor, points_P2: torch.Tensor, reach: float
) -> Assigned:
    """Return task-aligned targets of all points (Feng et al. 2021, TOOD: Task-aligned One-stage Object Detection).

    A point's alignment with a box is its score of the box's class times the sixth power of their IoU. Of the points
    within a box those of the highest alignment are to find it; a point that several boxes want finds the one that it
    overlaps most. Qualities are alignments, scaled so that a box's best point has the largest IoU among its points.

    Args:
        scores_NPK: of the classes, 0 to 1.
        boxes_NP4: that the points find now.
        targets_NM5: class and box; class -1 for none.
        points_P2: x and y.
        reach: how far from a box's centre points count as within, in pixels: half the finest stride, so that the
            smallest box has a point.
    """
    classes_NM, goals_NM4 = targets_NM5[..., 0].long(), targets_NM5[..., 1:]
    overlaps_NMP = iou(goals_NM4[:, :, None], boxes_NP4[:, None])
    wanted_NMP = classes_NM.clamp(min=0)[..., None].expand_as(overlaps_NMP)
    alignments_NMP = scores_NPK.transpose(1, 2).gather(1, wanted_NMP) ** SCORE_POWER * overlaps_NMP**IOU_POWER
    may_find_NMP = _is_within(points_P2, goals_NM4, reach) & (classes_NM >= 0)[..., None]
    finds_NMP = _best(alignments_NMP, may_find_NMP)
    finds_NMP &= _one_box_each(overlaps_NMP, finds_NMP)
    qualities_NMP = _qualities(alignments_NMP, overlaps_NMP, finds_NMP)
    is_assigned_NP, box_NP = finds_NMP.any(dim=1), finds_NMP.byte().argmax(dim=1)
    return Assigned(
        boxes_NP4=goals_NM4.gather(1, box_NP[..., None].expand(-1, -1, 4)) * is_assigned_NP[..., None],
        classes_NP=torch.where(is_assigned_NP, classes_NM.gather(1, box_NP), -1),
        qualities_NP=qualities_NMP.amax(dim=1),
    )


def _is_within(points_P2: torch.Tensor, goals_NM4: torch.Tensor, reach: float) -> torch.Tensor:
    """Return [N, M, P] whether points are within boxes, or as near to their centres as `reach`."""
    centres_NM2, halves_NM2 = (
        (goals_NM4[..., :2] + goals_NM4[..., 2:]) / 2,
        (goals_NM4[..., 2:] - goals_NM4[..., :2]) / 2,
    )
    away_NMP2 = (points_P2 - centres_NM2[:, :, None]).abs()
    return (away_NMP2 <= halves_NM2[:, :, None].clamp(min=reach)).all(dim=-1)


def _best(alignments_NMP: torch.Tensor, may_find_NMP: torch.Tensor) -> torch.Tensor:
    """Return which points, among those that may, are the best aligned with each box."""
    ranked_NMP = alignments_NMP.masked_fill(~may_find_NMP, -1.0)
    best_NMX = ranked_NMP.topk(min(NUM_POINTS, ranked_NMP.shape[2]), dim=2).indices
    return torch.zeros_like(may_find_NMP).scatter_(2, best_NMX, value=True) & may_find_NMP


def _one_box_each(overlaps_NMP: torch.Tensor, finds_NMP: torch.Tensor) -> torch.Tensor:
    """Return for each point which of the boxes that want it, it overlaps most."""
    most_NP = overlaps_NMP.masked_fill(~finds_NMP, -1.0).argmax(dim=1)
    return torch.zeros_like(finds_NMP).scatter_(1, most_NP[:, None], value=True)


def _qualities(alignments_NMP: torch.Tensor, overlaps_NMP: torch.Tensor, finds_NMP: torch.Tensor) -> torch.Tensor:
    """Return [N, M, P] alignments, scaled to each box's largest IoU; 0 where a point does not find a box."""
    alignments_NMP, overlaps_NMP = alignments_NMP * finds_NMP, overlaps_NMP * finds_NMP
    largest_NM1 = alignments_NMP.amax(dim=2, keepdim=True).clamp(min=torch.finfo(alignments_NMP.dtype).tiny)
    scaled_NMP = alignments_NMP / largest_NM1 * overlaps_NMP.amax(dim=2, keepdim=True)
    return scaled_NMP.clamp(min=LEAST_QUALITY) * finds_NMP
