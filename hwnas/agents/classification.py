"""Image classification."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch.nn import functional

from hwnas.agents.agent import TrainingAgent
from hwnas.criteria import Criterion, SmoothedCrossEntropy
from hwnas.dataflow.dataset import Dataset
from hwnas.quantities import share


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationAgent(TrainingAgent):
    """Minimises its criterion over logits; the score is top-1 accuracy in 0 to 1.

    Subnets of a supernet are ranked by likelihood, which tells those apart that accuracy on a few thousand images
    cannot: on NAS-Bench-Macro its ranks are nearer to those of networks trained alone (docs/results.md).
    """

    default_criterion: ClassVar[str] = "cross-entropy"
    search_metric: ClassVar[str | None] = "likelihood"
    scores_images_alone: ClassVar[bool] = True

    criterion: Criterion = field(default_factory=SmoothedCrossEntropy)

    @staticmethod
    def num_outputs(dataset: Dataset) -> int:
        """Return the classes."""
        return len(dataset.classes)

    def loss(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Return the criterion of logits [N, classes]."""
        return self.criterion(outputs, targets_N)

    def metrics(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    ) -> dict[str, float]:
        """Return the share of images whose largest logit is their class, and the geometric mean of its probability.

        The latter, the likelihood, is exp(-cross entropy), in 0 to 1.
        """
        correct = total = 0
        loss = 0.0
        with torch.inference_mode():
            for x_NCHW, targets_N in batches:
                logits_NK = forward(x_NCHW)
                correct += int((logits_NK.argmax(dim=1) == targets_N).sum())
                loss += float(functional.cross_entropy(logits_NK, targets_N, reduction="sum"))
                total += len(targets_N)
        return {"accuracy": share(correct, total), "likelihood": math.exp(-loss / total)}
