"""Whether two programs find the same boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from onnx_models.box_limits import BoxLimits
from onnx_models.boxes import Boxes

TOLERANCE = 1e-3
"""The largest difference between sides of boxes, in pixels, and between scores."""

AT_A_LIMIT = 1e-5
"""How near to a limit an overlap or a score may fall to either side of it, by how sums are rounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxParity:
    """Tells how the boxes that a model finds compare with those expected, image by image.

    Attributes:
        num_boxes: expected in all.
        num_unequal: images of which the two do not agree.
        num_at_limits: images of which they agree once an overlap or a score at its limit is taken for beyond it.
        max_box_difference: of a side, in pixels, over the images that agree.
        max_score_difference: over the same.
    """

    num_images: int
    num_boxes: int
    num_unequal: int
    num_at_limits: int
    max_box_difference: float
    max_score_difference: float

    @property
    def holds(self) -> bool:
        """Whether the model may be handed out as finding the same boxes."""
        return self.num_images > 0 and self.num_unequal == 0


def box_parity(images: Iterable[tuple[Callable[[BoxLimits], Boxes], Boxes]], limits: BoxLimits) -> BoxParity:
    """Compare the boxes of every image: the same ones in the same order, up to ties.

    Args:
        images: of each, what gives the expected boxes under any limits, and the boxes found under those given.
    """
    differences: list[tuple[float, float] | None] = []
    num_boxes = num_at_limits = 0
    for expected_under, found in images:
        expected = expected_under(limits)
        difference = differences_of(expected, found, limits.max_boxes)
        if difference is None:
            nearby = (differences_of(expected_under(other), found, limits.max_boxes) for other in _around(limits))
            difference = next((one for one in nearby if one is not None), None)
            num_at_limits += difference is not None
        num_boxes += len(expected)
        differences.append(difference)
    equal = [difference for difference in differences if difference is not None]
    return BoxParity(
        num_images=len(differences),
        num_boxes=num_boxes,
        num_unequal=len(differences) - len(equal),
        num_at_limits=num_at_limits,
        max_box_difference=max((sides for sides, _ in equal), default=0.0),
        max_score_difference=max((scores for _, scores in equal), default=0.0),
    )


def _around(limits: BoxLimits) -> list[BoxLimits]:
    steps = (-AT_A_LIMIT, 0.0, AT_A_LIMIT)
    return [
        replace(
            limits,
            min_score=max(0.0, limits.min_score + score_step),
            max_iou=min(1.0, max(0.0, limits.max_iou + iou_step)),
        )
        for score_step, iou_step in product(steps, steps)
    ]


def differences_of(expected: Boxes, found: Boxes, max_boxes: int) -> tuple[float, float] | None:
    """Return the largest difference of sides and of scores between boxes in the same order; None where they differ.

    Boxes of equal scores may be in any order. Where there are as many as there may be, those whose score equals the
    last one's may be others.
    """
    if len(expected) != len(found):
        return None
    if not len(expected):
        return 0.0, 0.0
    scores_D = np.abs(expected.scores_D - found.scores_D)
    if scores_D.max() > TOLERANCE:
        return None
    sides_DD = np.abs(expected.boxes_D4[:, None] - found.boxes_D4[None]).max(axis=2)
    is_same_DD = (sides_DD <= TOLERANCE) & (expected.classes_D[:, None] == found.classes_D[None])
    is_same_DD &= np.abs(expected.scores_D[:, None] - found.scores_D[None]) <= TOLERANCE
    is_cut = len(expected) == max_boxes
    sides = 0.0
    for row, is_same in enumerate(is_same_DD):
        places = np.flatnonzero(is_same)
        if len(places):
            place = min(places, key=lambda column: abs(column - row))
            is_same_DD[:, place] = False
            sides = max(sides, float(sides_DD[row, place]))
        elif not (is_cut and expected.scores_D[row] - expected.scores_D[-1] <= TOLERANCE):
            return None
    return sides, float(scores_D.max())
