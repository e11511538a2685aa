"""Image classification."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from hwnas.criteria import Criterion, SmoothedCrossEntropy


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationAgent:
    """Minimises its criterion over logits; the score is top-1 accuracy in 0 to 1."""

    criterion: Criterion = field(default_factory=SmoothedCrossEntropy)

    def loss(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """The criterion of logits [N, classes]."""
        return self.criterion(outputs, targets_N)

    def score(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    ) -> float:
        """Share of images whose largest logit is their class."""
        correct = total = 0
        with torch.inference_mode():
            for x_NCHW, targets_N in batches:
                correct += int((forward(x_NCHW).argmax(dim=1) == targets_N).sum())
                total += len(targets_N)
        return correct / total
