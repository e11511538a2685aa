"""Object detection by networks without anchor boxes: each point tells classes, and how far a box reaches from it.

Legend: N images, P points, M boxes of an image (filled up), K classes. A box is x1, y1, x2, y2, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, runtime_checkable

import torch

from hwnas.agents.agent import Batch, Forward, TrainingAgent
from hwnas.agents.assignment import assigned
from hwnas.agents.average_precision import average_precision
from hwnas.agents.boxes import Detections, generalised_iou, suppressed_in_images
from hwnas.agents.teaching import BOX_WEIGHT, DetectionDistillation
from hwnas.criteria import Criterion, TeacherLoss, Varifocal
from hwnas.criteria.quality import normaliser
from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.targets import TargetKind
from hwnas.errors import RequestError
from search_spaces import SearchSpace
from search_spaces.point_grid import PointGrid
from search_spaces.space import HeadKind

MAX_CANDIDATES = 1000
"""Boxes of an image that metrics suppress others by, as torchvision's detectors take; more change nothing but time."""


@runtime_checkable
class GivesPoints(Protocol):
    """A space whose networks find boxes."""

    @property
    def point_grid(self) -> PointGrid:
        """Return the points of its networks' outputs."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionAgent(TrainingAgent):
    """Finds boxes and their classes; the score is COCO's mean average precision in 0 to 1.

    Points are assigned to boxes by task alignment (Feng et al. 2021, TOOD), the criterion is given their class logits
    and the scores that these should give, and boxes are learnt by generalised IoU. YOLOv6's authors compared
    assignments and class losses for small real-time detectors, and kept task alignment and varifocal loss (Li et al.
    2022, YOLOv6: A Single-Stage Object Detection Framework for Industrial Applications).

    Subnets of a supernet are ranked by exp(-loss), as those of classifiers are by likelihood: average precision is of
    ranks, and near 0 for all subnets of a supernet that was trained for a few epochs.
    """

    head: ClassVar[HeadKind] = "detection"
    target_kind: ClassVar[TargetKind] = "boxes"
    default_criterion: ClassVar[str] = "varifocal"
    criteria: ClassVar[frozenset[str] | None] = frozenset({"binary-cross-entropy", "quality-focal", "varifocal"})
    search_metric: ClassVar[str | None] = "exp_minus_loss"
    scores_images_alone: ClassVar[bool] = True
    distillation: ClassVar[TeacherLoss | None] = DetectionDistillation()

    criterion: Criterion = field(default_factory=Varifocal)
    point_grid: PointGrid | None = None
    """Where the points of the outputs are; None until the agent is for a space."""

    @staticmethod
    def num_outputs(dataset: Dataset) -> int:
        """Return the classes; the distances to a box's sides come on top."""
        return len(dataset.classes)

    def for_space(self, space: SearchSpace) -> DetectionAgent:
        """Return the same agent for networks whose points are those of the space.

        Raises:
            RequestError: the space does not say where they are.
        """
        if not isinstance(space, GivesPoints):
            raise RequestError(
                f"detection needs networks that find boxes, those of {space.spec.name} do not: take a built-in space, "
                "or give your own a point_grid (hwnas docs tasks)"
            )
        return replace(self, point_grid=space.point_grid)

    def loss(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Return the losses of classes and boxes, over the scores that points should give.

        Args:
            outputs: [N, P, 4 + K] distances in strides, and class logits.
            targets_N: [N, M, 5] class and box; class -1 for none.
        """
        return self._loss_and_scores(outputs, targets_N)[0]

    def metrics(self, forward: Forward, batches: Iterable[Batch]) -> dict[str, float]:
        """Return mean average precision over IoU 0.5 to 0.95, that at 0.5, and exp(-loss), all in 0 to 1."""
        sums, found, targets = [], [], []
        with torch.inference_mode():
            for x_NCHW, targets_NM5 in batches:
                outputs = forward(x_NCHW)
                sums.append(self._sums(outputs, targets_NM5))
                found.append(self._detections(outputs))
                targets.append(targets_NM5)
        precision, precision_at_half = average_precision(found, targets)
        return {"map": precision, "ap50": precision_at_half, "exp_minus_loss": _exp_minus(sums)}

    def search_score(self, forward: Forward, batches: Iterable[Batch]) -> float:
        """Return exp(-loss); the other metrics take as long as a small network itself."""
        with torch.inference_mode():
            return _exp_minus([self._sums(forward(x_NCHW), targets_NM5) for x_NCHW, targets_NM5 in batches])

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the class [N, P] that each point gives most."""
        return outputs[..., 4:].argmax(dim=2)

    @property
    def _grid(self) -> PointGrid:
        if self.point_grid is None:
            raise ValueError("a detection agent has to know its networks' points first: use agent.for_space(space)")
        return self.point_grid

    def _detections(self, outputs: torch.Tensor) -> Detections:
        boxes_NP4 = self._grid.decoded(outputs[..., :4].float())
        return suppressed_in_images(boxes_NP4, outputs[..., 4:].float().sigmoid(), max_candidates=MAX_CANDIDATES)

    def _loss_and_scores(self, outputs: torch.Tensor, targets_NM5: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss, and the scores [N, P, K] that points should give."""
        grid, outputs = self._grid, outputs.float()
        boxes_NP4, logits_NPK = grid.decoded(outputs[..., :4]), outputs[..., 4:]
        points_P2, reach = grid.points_P2.to(outputs.device), float(grid.strides_P.min()) / 2
        goal = assigned(logits_NPK.sigmoid(), boxes_NP4, targets_NM5, points_P2, reach)
        scores_NPK = goal.scores(logits_NPK.shape[2])
        classes = self.criterion(logits_NPK.flatten(0, 1), scores_NPK.flatten(0, 1))
        misses_NP = 1.0 - generalised_iou(boxes_NP4, goal.boxes_NP4)
        boxes = (misses_NP * goal.qualities_NP).sum() / normaliser(scores_NPK)
        return classes + BOX_WEIGHT * boxes, scores_NPK

    def _sums(self, outputs: torch.Tensor, targets_NM5: torch.Tensor) -> tuple[float, float]:
        """Return the loss before it is divided, and the sum of scores that it is divided by."""
        loss, scores_NPK = self._loss_and_scores(outputs, targets_NM5)
        return float(loss * normaliser(scores_NPK)), float(scores_NPK.sum())


def _exp_minus(sums: list[tuple[float, float]]) -> float:
    """Return exp(-loss) over all batches, the same however images are divided into them."""
    losses, scores = zip(*sums, strict=True)
    return math.exp(-sum(losses) / max(1.0, sum(scores)))
