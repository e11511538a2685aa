"""Cross entropy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class SmoothedCrossEntropy:
    """Cross entropy with label smoothing (Szegedy et al. 2016)."""

    label_smoothing: float = 0.0

    def __call__(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Mean over the batch; outputs are logits of shape [N, classes]."""
        return functional.cross_entropy(outputs, targets_N, label_smoothing=self.label_smoothing)
