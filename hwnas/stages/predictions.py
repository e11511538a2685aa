"""What the winner says of test images, for people to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.agents.boxes import iou
from hwnas.agents.detection import GivesPoints
from hwnas.agents.segmentation import confusion, mean_iou
from hwnas.artifacts import ShownBox, ShownImage, ShownPredictions, ShownView
from hwnas.artifacts.shown import Group
from hwnas.dataflow import Dataset, Split
from hwnas.dataflow.targets import IGNORED, NO_BOX
from hwnas.export.accuracy import test_batch_size
from hwnas.export.contents import Kind
from hwnas.export.detector import found_boxes
from hwnas.stages.thumbnails import mask_png, thumbnail
from hwnas.training.task import LearningTask
from onnx_models.box_limits import BoxLimits
from onnx_models.boxes import Boxes
from onnx_models.ending import Ending
from onnx_models.session import OnnxNetwork
from search_spaces import SearchSpace
from search_spaces.point_grid import PointGrid

_Views = tuple[ShownView, ShownView]
"""Target and prediction."""

NUM_DENSE = 500
"""Test images at most whose boxes or masks are looked at."""

NUM_MISTAKES, NUM_OF_A_KIND = 12, 6
"""Images shown of a classifier's mistakes; of the worst and of the typical ones of other networks."""

SHOWN_SCORE = 0.3
"""The score that boxes must exceed to be shown and counted."""

MATCHING_IOU = 0.5
"""The overlap from which a box is taken for one of the targets."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Shown:
    """The network and the test images that it is looked at on."""

    network: OnnxNetwork
    task: LearningTask
    split: Split

    @property
    def dataset(self) -> Dataset:
        return self.task.dataset

    def batches(self, split: Split) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Return outputs and targets."""
        for x_NCHW, targets_N in self.task.batches(split, test_batch_size(self.dataset)).in_order():
            yield self.network(x_NCHW), targets_N

    def images(
        self,
        group: Group,
        places: NDArray[np.int64],
        scores: NDArray[np.float64],
        views: Sequence[_Views],
    ) -> list[ShownImage]:
        """Return images of the split with what is to be seen on them, target and prediction."""
        shown = []
        for place, score, (target, prediction) in zip(places.tolist(), scores.tolist(), views, strict=True):
            picture = thumbnail(self.split.images(slice(place, place + 1))[0])
            shown.append(
                ShownImage(
                    group=group,
                    png=picture.png,
                    width=picture.width,
                    height=picture.height,
                    score=score,
                    target=_scaled(target, picture.scale),
                    prediction=_scaled(prediction, picture.scale),
                )
            )
        return shown


def predictions_of(model: Path, task: LearningTask, kind: Kind, space: SearchSpace) -> ShownPredictions:
    """Return what a network says of the test images: of classes all images, of boxes and masks 500 at most.

    Args:
        model: its raw outputs.
        task: with images of the size that it is for.
    """
    test = task.dataset.test
    if kind != "classification":
        test = test.subset(np.arange(min(NUM_DENSE, len(test))))
    shown = _Shown(network=OnnxNetwork(model), task=task, split=test)
    if kind == "classification":
        return _classified(shown, space.ending)
    if kind == "detection":
        assert isinstance(space, GivesPoints)
        return _detected(shown, space.point_grid)
    return _segmented(shown)


def _classified(shown: _Shown, ending: Ending | None) -> ShownPredictions:
    parts = []
    for outputs_NK, targets in shown.batches(shown.split):
        shares_NK = outputs_NK if ending in ("sigmoid", "softmax") else outputs_NK.softmax(dim=1)
        best = shares_NK.max(dim=1)
        parts.append((best.values, best.indices, targets))
    shares_N, found_N, targets_N = (torch.cat(list(part)).numpy() for part in zip(*parts, strict=True))
    pairs, counts = np.unique(np.stack([targets_N, found_N], axis=1), axis=0, return_counts=True)
    wrong = np.flatnonzero(found_N != targets_N)
    places = wrong[np.argsort(-shares_N[wrong], kind="stable")][:NUM_MISTAKES]
    views = [(ShownView(kind=int(targets_N[i])), ShownView(kind=int(found_N[i]))) for i in places]
    return ShownPredictions(
        classes=shown.dataset.classes,
        measure="the probability that the network gives the class that it takes the image for",
        num_images=len(found_N),
        confusion=tuple((int(a), int(b), int(num)) for (a, b), num in zip(pairs, counts, strict=True)),
        images=tuple(shown.images("mistake", places, np.clip(shares_N[places], 0.0, 1.0), views)),
    )


def _detected(shown: _Shown, grid: PointGrid) -> ShownPredictions:
    limits = BoxLimits(min_score=SHOWN_SCORE)
    found: list[Boxes] = []
    targets: list[NDArray[np.float32]] = []
    for outputs_NPC, targets_NM5 in shown.batches(shown.split):
        found += [found_boxes(outputs_PC, grid, limits) for outputs_PC in outputs_NPC]
        targets += [boxes[boxes[:, 0] != NO_BOX].numpy() for boxes in targets_NM5]
    scores = np.array([agreement(boxes, target) for boxes, target in zip(found, targets, strict=True)])
    images = []
    for group, places in _chosen(scores).items():
        views = [(_target_boxes(targets[i]), _found_boxes(found[i])) for i in places]
        images += shown.images(group, places, scores[places], views)
    return ShownPredictions(
        classes=shown.dataset.classes,
        measure=f"F1 of its boxes: those with scores above {SHOWN_SCORE} that overlap a target of their class by "
        f"{MATCHING_IOU} (IoU) or more are right",
        num_images=len(found),
        images=tuple(images),
    )


def _segmented(shown: _Shown) -> ShownPredictions:
    num_classes, scores = len(shown.dataset.classes), []
    for outputs_NKHW, targets_NHW in shown.batches(shown.split):
        for found_HW, target_HW in zip(outputs_NKHW.argmax(dim=1), targets_NHW, strict=True):
            scores.append(mean_overlap(found_HW, target_HW, num_classes))
    images = []
    for group, places in _chosen(np.array(scores)).items():
        views = []
        for outputs_NKHW, targets_NHW in shown.batches(shown.split.subset(places)):
            found_NHW = outputs_NKHW.argmax(dim=1).byte()
            views += [
                (ShownView(mask=mask_png(target_HW)), ShownView(mask=mask_png(found_HW)))
                for target_HW, found_HW in zip(targets_NHW, found_NHW, strict=True)
            ]
        images += shown.images(group, places, np.array(scores)[places], views)
    return ShownPredictions(
        classes=shown.dataset.classes,
        measure="the mean overlap (IoU) of the classes that are on it or that the network sees there",
        num_images=len(scores),
        images=tuple(images),
    )


def _chosen(scores_N: NDArray[np.float64]) -> Mapping[Group, NDArray[np.int64]]:
    """Return the images of the lowest scores, and of the others those whose scores are nearest to the median."""
    order = np.argsort(scores_N, kind="stable")
    worst, others = order[:NUM_OF_A_KIND], order[NUM_OF_A_KIND:]
    distances = np.abs(scores_N[others] - np.median(scores_N))
    return {"worst": worst, "typical": others[np.argsort(distances, kind="stable")][:NUM_OF_A_KIND]}


def agreement(found: Boxes, target_M5: NDArray[np.float32]) -> float:
    """Return F1 of an image's boxes: twice those that are right over all boxes and all targets; 1 without any of both.

    Boxes are taken by falling score; each target is found once.
    """
    if not len(found) and not len(target_M5):
        return 1.0
    is_free_M = np.ones(len(target_M5), bool)
    overlaps_DM = iou(torch.from_numpy(found.boxes_D4)[:, None], torch.from_numpy(target_M5[:, 1:])).numpy()
    for overlaps_M, kind in zip(overlaps_DM, found.classes_D, strict=True):
        usable_M = np.where(is_free_M & (target_M5[:, 0] == kind), overlaps_M, 0.0)
        if len(usable_M) and usable_M.max() >= MATCHING_IOU:
            is_free_M[usable_M.argmax()] = False
    return float(2 * (~is_free_M).sum() / (len(found) + len(target_M5)))


def mean_overlap(found_HW: torch.Tensor, target_HW: torch.Tensor, num_classes: int) -> float:
    """Return the mean IoU of the classes on an image or seen on it, its ignored pixels aside; 1 without any pixel."""
    is_known = target_HW != IGNORED
    if not bool(is_known.any()):
        return 1.0
    return mean_iou(confusion(found_HW[is_known], target_HW[is_known], num_classes))


def _target_boxes(boxes_M5: NDArray[np.float32]) -> ShownView:
    return ShownView(boxes=tuple(ShownBox(kind=int(row[0]), box=tuple(row[1:].tolist())) for row in boxes_M5))


def _found_boxes(found: Boxes) -> ShownView:
    rows = zip(found.classes_D.tolist(), found.boxes_D4.tolist(), found.scores_D.tolist(), strict=True)
    return ShownView(boxes=tuple(ShownBox(kind=kind, box=tuple(box), score=score) for kind, box, score in rows))


def _scaled(view: ShownView, scale: float) -> ShownView:
    """Return the boxes in pixels of a picture that is so many times as large as the image."""
    boxes = []
    for box in view.boxes:
        x1, y1, x2, y2 = (round(scale * side, 1) for side in box.box)
        boxes.append(replace(box, box=(x1, y1, x2, y2)))
    return replace(view, boxes=tuple(boxes))
