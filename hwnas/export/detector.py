"""The models of a detector that give boxes, and the proof that they find those that they should."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hwnas.agents.average_precision import average_precision
from hwnas.agents.boxes import Detections, suppressed
from hwnas.dataflow import Batches, Dataset, Split
from hwnas.errors import RunError
from onnx_models.box_limits import BoxLimits
from onnx_models.box_parity import BoxParity, box_parity
from onnx_models.boxes import Boxes, OnnxDetector, with_suppression
from onnx_models.pixels import with_preprocessing
from onnx_models.session import OnnxNetwork
from search_spaces.point_grid import PointGrid

PROOF_IMAGES = 500
"""Test images at most that boxes are compared on, one by one."""

BATCH = 64

BOX_MODELS = {
    "model.boxes.onnx": "model.onnx",
    "model.pixels.onnx": "model.onnx",
    "model.int8.boxes.onnx": "model.int8.onnx",
    "model.mixed.boxes.onnx": "model.mixed.onnx",
}
"""The models that give boxes, and those whose raw outputs they are made of."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detector:
    """A detector's models in a folder.

    Attributes:
        grid: the points of its raw outputs.
        limits: of which boxes are given.
        dataset: that boxes are compared and scored on.
    """

    folder: Path
    grid: PointGrid
    limits: BoxLimits
    dataset: Dataset

    def write(self, *, mean: Sequence[float], std: Sequence[float]) -> None:
        """Write the models that give boxes beside those that they are made of, as far as these are there."""
        points_P2, strides_P = self.grid.points_P2.numpy(), self.grid.strides_P.numpy()
        for name, raw in BOX_MODELS.items():
            if name == "model.pixels.onnx" or not (self.folder / raw).is_file():
                continue
            with_suppression(self.folder / raw, self.folder / name, points_P2, strides_P, limits=self.limits)
        source, target = (self.folder / name for name in ("model.boxes.onnx", "model.pixels.onnx"))
        with_preprocessing(source, target, mean=mean, std=std, gives_probabilities=False)

    def parity(self, name: str) -> BoxParity:
        """Return how a model's boxes compare with those that torch makes of the raw outputs, image by image."""
        whole = self.dataset.test
        test = whole.subset(np.arange(min(PROOF_IMAGES, len(whole))))
        return box_parity(self._expected_and_found(name, test), self.limits)

    def proven(self, names: Iterable[str]) -> dict[str, BoxParity]:
        """Return how the boxes of models compare, all of which find those that they should.

        Raises:
            RunError: one finds others.
        """
        found = {name: self.parity(name) for name in names}
        for name, parity in found.items():
            if not parity.holds:
                raise RunError(
                    f"{name} finds other boxes than torch makes of {BOX_MODELS[name]} on {parity.num_unequal} of "
                    f"{parity.num_images} test images"
                )
        return found

    def metrics(self, name: str) -> dict[str, float]:
        """Return the mean average precision of a model's boxes on all test images, and that at an overlap of 0.5."""
        detector = OnnxDetector(self.folder / name)
        found, targets = [], []
        for images, targets_NM5 in self._batches(self.dataset.test, detector):
            found.append(as_detections(detector(images)))
            targets.append(targets_NM5)
        precision, at_half = average_precision(found, targets)
        return {"map": precision, "ap50": at_half}

    def _expected_and_found(self, name: str, test: Split) -> Iterator[tuple[Callable[[BoxLimits], Boxes], Boxes]]:
        raw, detector = OnnxNetwork(self.folder / BOX_MODELS[name]), OnnxDetector(self.folder / name)
        normalised = Batches.of(self.dataset, test, BATCH).in_order()
        for (x_NCHW, _), (images, _) in zip(normalised, self._batches(test, detector), strict=True):
            for outputs_PC, boxes in zip(raw(x_NCHW), detector(images), strict=True):
                yield partial(found_boxes, outputs_PC, self.grid), boxes

    def _batches(self, split: Split, detector: OnnxDetector) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if detector.takes_pixels:
            return split.chunks(BATCH)
        return Batches.of(self.dataset, split, BATCH).in_order()


def found_boxes(outputs_PC: torch.Tensor, grid: PointGrid, limits: BoxLimits) -> Boxes:
    """Return what the raw outputs for an image mean, as the training agent reads them.

    Args:
        outputs_PC: [P, 4 + K] distances in strides and logits.
    """
    boxes_P4, scores_PK = grid.decoded(outputs_PC[None, :, :4])[0], outputs_PC[:, 4:].sigmoid()
    boxes_D4, scores_D, classes_D = suppressed(boxes_P4, scores_PK, limits)
    return Boxes(boxes_D4=boxes_D4.numpy(), scores_D=scores_D.numpy(), classes_D=classes_D.numpy())


def as_detections(images: Sequence[Boxes]) -> Detections:
    """Return the boxes of images in one tensor, filled up."""
    most = max(map(len, images))
    boxes = np.zeros((len(images), most, 4), np.float32)
    scores, classes = np.zeros((len(images), most), np.float32), np.full((len(images), most), -1)
    for row, found in enumerate(images):
        boxes[row, : len(found)] = found.boxes_D4
        scores[row, : len(found)] = found.scores_D
        classes[row, : len(found)] = found.classes_D
    return Detections(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(classes))
