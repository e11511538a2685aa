"""The limits of which boxes a detector gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxLimits:
    """The limits of which boxes are given, by the network in torch and by the models that it is exported as.

    Attributes:
        min_score: a box must have a higher one.
        max_iou: of a box with one of the same class and a higher score; where it is larger, the box is dropped.
        max_boxes: of an image.
    """

    min_score: float = 0.05
    max_iou: float = 0.6
    max_boxes: int = 100

    def __post_init__(self) -> None:
        if not (0 <= self.min_score < 1 and 0 <= self.max_iou <= 1 and self.max_boxes >= 1):
            raise ValueError(
                f"expected a least score of 0 to below 1, a largest overlap of 0 to 1 and one box at least, got {self}"
            )


USUAL_LIMITS = BoxLimits()
"""Those where nothing else is asked for."""
