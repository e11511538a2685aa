"""Image classification."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from hwnas.criteria import Criterion, SmoothedCrossEntropy
from hwnas.dataflow.dataset import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationAgent:
    """Minimises its criterion over logits; the score is top-1 accuracy in 0 to 1."""

    default_criterion: ClassVar[str] = "cross-entropy"
    holds_out_classes: ClassVar[bool] = False

    criterion: Criterion = field(default_factory=SmoothedCrossEntropy)

    @staticmethod
    def num_outputs(dataset: Dataset) -> int:
        """The classes."""
        return len(dataset.classes)

    def loss(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """The criterion of logits [N, classes]."""
        return self.criterion(outputs, targets_N)

    def metrics(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    ) -> dict[str, float]:
        """The share of images whose largest logit is their class."""
        correct = total = 0
        with torch.inference_mode():
            for x_NCHW, targets_N in batches:
                correct += int((forward(x_NCHW).argmax(dim=1) == targets_N).sum())
                total += len(targets_N)
        return {"accuracy": correct / total}
