"""Semantic segmentation: the class of every pixel.

Legend: N images, K classes, H and W the sides of the images, X pixels that have a class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch.nn import functional

from hwnas.agents.agent import Batch, Forward, TrainingAgent
from hwnas.criteria import Criterion, SmoothedCrossEntropy
from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.targets import IGNORED, TargetKind
from hwnas.quantities import share
from search_spaces.space import HeadKind


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentationAgent(TrainingAgent):
    """Tells the class of every pixel; the score is the mean intersection over union of the classes in 0 to 1.

    The intersections and unions are those of all pixels of all images together. Classes that are neither in the masks
    nor in what the network says are left out of the mean, as Pascal VOC and Cityscapes do.

    Subnets of a supernet are ranked by likelihood, as those of classifiers are.
    """

    head: ClassVar[HeadKind] = "segmentation"
    target_kind: ClassVar[TargetKind] = "masks"
    default_criterion: ClassVar[str] = "cross-entropy"
    criteria: ClassVar[frozenset[str] | None] = frozenset(
        {"binary-cross-entropy", "cross-entropy", "focal", "quality-focal", "varifocal"}
    )
    search_metric: ClassVar[str | None] = "likelihood"
    scores_images_alone: ClassVar[bool] = True

    criterion: Criterion = field(default_factory=SmoothedCrossEntropy)

    @staticmethod
    def num_outputs(dataset: Dataset) -> int:
        """Return the classes."""
        return len(dataset.classes)

    def loss(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Return the criterion of the logits of all pixels that have a class; 0 where none has.

        Args:
            outputs: [N, K, H, W] logits.
            targets_N: [N, H, W] a class per pixel, 255 for none.
        """
        logits_XK, targets_X = _of_known_pixels(outputs, targets_N)
        return self.criterion(logits_XK, targets_X) if len(targets_X) else outputs.sum() * 0.0

    def metrics(self, forward: Forward, batches: Iterable[Batch]) -> dict[str, float]:
        """Return mean IoU, the share of pixels told rightly, and the geometric mean of the right class's probability.

        Pixels without a class count for nothing; without any pixel that has one all three are 0.
        """
        loss, num = 0.0, 0
        confusion_KK: torch.Tensor | None = None  # target and prediction
        with torch.inference_mode():
            for x_NCHW, targets_NHW in batches:
                logits_XK, targets_X = _of_known_pixels(forward(x_NCHW), targets_NHW)
                loss += float(functional.cross_entropy(logits_XK, targets_X, reduction="sum"))
                num += len(targets_X)
                counts_KK = confusion(logits_XK.argmax(dim=1), targets_X, logits_XK.shape[1])
                confusion_KK = counts_KK if confusion_KK is None else confusion_KK + counts_KK
        if confusion_KK is None or not num:
            return {"mean_iou": 0.0, "pixel_accuracy": 0.0, "likelihood": 0.0}
        return {
            "mean_iou": mean_iou(confusion_KK),
            "pixel_accuracy": share(int(confusion_KK.diag().sum()), num),
            "likelihood": math.exp(-loss / num),
        }


def _of_known_pixels(outputs_NKHW: torch.Tensor, targets_NHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits [X, K] and classes [X] of the pixels that have a class."""
    logits_XK, targets_X = outputs_NKHW.permute(0, 2, 3, 1).flatten(0, 2), targets_NHW.flatten().long()
    is_known_X = targets_X != IGNORED
    return (logits_XK, targets_X) if bool(is_known_X.all()) else (logits_XK[is_known_X], targets_X[is_known_X])


def confusion(found_X: torch.Tensor, targets_X: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return [K, K] how many pixels of each class are taken for which; all of them have a class."""
    pairs_X = targets_X.long() * num_classes + found_X
    return torch.bincount(pairs_X, minlength=num_classes**2).reshape(num_classes, num_classes)


def mean_iou(confusion_KK: torch.Tensor) -> float:
    """Return the mean IoU of the classes that pixels are of or are taken for, of which there must be one."""
    right_K = confusion_KK.diag()
    union_K = confusion_KK.sum(dim=0) + confusion_KK.sum(dim=1) - right_K
    is_there_K = union_K > 0
    return float((right_K[is_there_K].double() / union_K[is_there_K]).mean())
