"""A bundle's network in int8: whole, or block by block where that is the best."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hwnas.artifacts import MixedPrecision
from hwnas.errors import RequestError
from hwnas.export.accuracy import test_batch_size
from hwnas.export.mixed import MOST_BLOCKS, Trial, choose_precisions
from hwnas.export.recommend import FLOAT, INT8, MIXED
from hwnas.measured import Measured
from hwnas.quantities import MEDIAN
from hwnas.stages.setup import Setup
from hwnas.training.task import LearningTask
from onnx_models.best_int8 import Quantization, quantize_network
from onnx_models.ending import scores_of
from onnx_models.mixed_int8 import MixedNetwork

NUM_CALIBRATION, NUM_SELECTION = 128, 1000
"""Training images that int8 ranges are taken from, and others that calibrations are compared on."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Quantizer:
    """Writes the float model of a folder in int8 beside it.

    Attributes:
        folder: has `model.onnx`.
        setup: the device whose batch size models have, and that mixed precision is measured on.
        task: scores networks, and has the images that ranges are taken from.
    """

    folder: Path
    setup: Setup
    task: LearningTask

    def quantize(self, max_drop: float) -> Quantization:
        """Write the network in int8, by the best of three calibrations, and return which that is.

        Args:
            max_drop: of the score that it may cost.

        Raises:
            RequestError: there are too few training images.
        """
        whole, score = self._calibration()
        self.setup.reporter.line("int8: trying MinMax, Entropy and Percentile calibration")
        return quantize_network(self.folder / FLOAT, self.folder / INT8, whole, score, max_drop=max_drop)

    def mix(self, method: str, max_drop: float) -> MixedPrecision:
        """Write the network with some blocks in int8 where that is the best, and return what was chosen.

        Args:
            method: the calibration that ranges are taken by.
            max_drop: of the score that it may cost.

        Raises:
            RequestError: there are too few training images.
            RunError: a model cannot be measured.
        """
        setup, (images, score) = self.setup, self._calibration()
        with tempfile.TemporaryDirectory() as scratch:

            def measured(paths: Mapping[str, Path], *, is_median: bool) -> dict[str, Measured]:
                by = replace(setup, percentile=MEDIAN) if is_median else setup
                return by.measured(paths, Path(scratch) / ("walk.journal" if is_median else "finalists.journal"))

            network = MixedNetwork(self.folder / FLOAT, Path(scratch), images, method=method, most=MOST_BLOCKS)
            trial = Trial(images=images, score=score, measured=measured, say=setup.reporter.line)
            found, path = choose_precisions(network, trial, max_drop=max_drop, rng=setup.rng("mixed precision"))
            if found.is_mixed:
                shutil.copyfile(path, self.folder / MIXED)
        return found

    def _calibration(self) -> tuple[list[torch.Tensor], Callable[[Callable[[torch.Tensor], torch.Tensor]], float]]:
        """Return the images that ranges are taken from, in the device's batch size, and the score on others."""
        task, batch, train = self.task, self.setup.device.batch, self.task.dataset.train
        order = self.setup.rng("int8").permutation(len(train))
        num = min(NUM_CALIBRATION, len(order) // 2)
        if num < batch:
            raise RequestError(
                f"int8 needs {2 * batch} training images at least for batches of {batch}, half of them for the ranges "
                f"and half to compare them on, got {len(order)}: use more, or give --no-int8"
            )
        chosen = train.subset(order[:num])
        others = train.subset(order[num : num + NUM_SELECTION])
        whole = [x for x, _ in task.batches(chosen, batch).in_order() if len(x) == batch]
        selection = list(task.batches(others, min(250, test_batch_size(task.dataset))).in_order())

        def score(network: Callable[[torch.Tensor], torch.Tensor]) -> float:
            ending = self.setup.space.ending
            return next(iter(task.agent.metrics(lambda x: scores_of(network(x), ending), selection).values()))

        return whole, score
