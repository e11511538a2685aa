"""The scores of a bundle's models on the test images, and the proof that they are those of the trained network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.artifacts import PairedChange
from hwnas.errors import RunError
from hwnas.export.accuracy import test_batches
from hwnas.export.contents import Kind
from hwnas.export.detector import BOX_MODELS
from hwnas.export.recommend import FLOAT, INT8, MIXED, paired_change
from hwnas.training.task import LearningTask
from onnx_models.boxes import BOXES
from onnx_models.ending import Ending, scores_of
from onnx_models.session import OnnxNetwork

HALF_PRECISION_TOLERANCE = 0.005
"""The largest difference of a half-precision model's score from the trained network's."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scored:
    """A model's metrics on the test images, and which it is right about; None for tasks other than classification."""

    metrics: Mapping[str, float]
    is_right: NDArray[np.bool_] | None


def changes_of(scored: Mapping[str, Scored]) -> dict[str, PairedChange]:
    """Return the changes of accuracy from the float model's, by file, where images have right answers."""
    right = {name: found.is_right for name, found in scored.items() if found.is_right is not None}
    return {name: paired_change(right[FLOAT], right[name]) for name in (INT8, MIXED) if name in right}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scorer:
    """Scores the models of a folder.

    Attributes:
        task: has the test images.
        kind: what networks tell of images; None where no program runs them on images.
        expected: the trained network's score.
    """

    folder: Path
    task: LearningTask
    kind: Kind | None
    expected: float

    def network(self, name: str) -> OnnxNetwork:
        """Return a model by the output that tells the most: of several, boxes."""
        gives_boxes = self.kind == "detection" and name in BOX_MODELS
        return OnnxNetwork(self.folder / name, BOXES if gives_boxes else None)

    def ending(self, network: OnnxNetwork) -> Ending | None:
        """Return what a model ends in: those of pixels give probabilities in any case."""
        own = self.task.space.ending
        return "softmax" if network.gives_probabilities and own != "sigmoid" else own

    def scored(self, name: str) -> Scored:
        """Return what a model scores."""
        network, is_classifier = self.network(name), self.kind == "classification"
        classes: list[torch.Tensor] = []

        def outputs(x_NCHW: torch.Tensor) -> torch.Tensor:
            found = network(x_NCHW)
            if is_classifier:
                classes.append(found.argmax(dim=1))
            return found

        metrics = self.metrics(network, outputs)
        is_right = (torch.cat(classes) == self.task.dataset.test.targets_N).numpy() if is_classifier else None
        return Scored(metrics=metrics, is_right=is_right)

    def metrics(self, network: OnnxNetwork, outputs: Callable[[torch.Tensor], torch.Tensor]) -> Mapping[str, float]:
        """Return the metrics of what something gives for the test images as a model takes them.

        Args:
            outputs: told the images, gives what the model gives.
        """
        ending = self.ending(network)
        batches = test_batches(network, self.task.dataset)
        return self.task.test_agent.metrics(lambda x_NCHW: scores_of(outputs(x_NCHW), ending), batches)

    def require_equal(self, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Make sure that float models predict what the trained network did, but for rounding at ties.

        Args:
            metrics: of models, by file.

        Raises:
            RunError: one does not.
        """
        for name, found in metrics.items():
            self.require_equal_score(name, found, is_rounded="fp16" in name)

    def require_equal_score(self, name: str, metrics: Mapping[str, float], *, is_rounded: bool) -> None:
        """Make sure of the same for one model.

        Args:
            is_rounded: whether it computes in fewer bits than float32.

        Raises:
            RunError: it does not.
        """
        found = next(iter(metrics.values()))
        tolerance = HALF_PRECISION_TOLERANCE if is_rounded else 0.001
        if "int8" not in name and "mixed" not in name and abs(found - self.expected) > tolerance + 1e-9:
            raise RunError(f"{name} scores {found:.4f} on the test images, the trained network {self.expected:.4f}")
