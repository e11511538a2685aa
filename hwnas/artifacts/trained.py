"""Networks with their trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from hwnas.training.trainer import EpochRecord
from onnx_models.image_size import ImageSize
from search_spaces.supernet import Supernet


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainedSupernet:
    """A supernet, and how its training went; it is kept as the training's checkpoint.

    Attributes:
        epochs: none where nothing needs it trained.
    """

    module: Supernet
    epochs: tuple[EpochRecord, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RetrainedNetwork:
    """A trained network in evaluation mode, and its one result on the test set.

    Attributes:
        epoch: the one whose weights it has; None where it was not trained.
        test_metrics: by name; the first is the score.
        input_size: of the images that it is deployed for.
    """

    module: nn.Sequential
    input_size: ImageSize
    epoch: EpochRecord | None
    test_metrics: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.test_metrics:
            raise ValueError("a retrained network needs one test metric at least, got none")

    @property
    def test_accuracy(self) -> float:
        """The first metric."""
        return float(next(iter(self.test_metrics.values())))
