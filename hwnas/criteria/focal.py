"""Focal loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class Focal:
    """Cross entropy that weighs well-classified images less (Lin et al. 2017, Focal Loss)."""

    gamma: float = 2.0

    def __call__(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Mean over the batch; outputs are logits of shape [N, classes]."""
        entropy_N = functional.cross_entropy(outputs, targets_N, reduction="none")
        return ((1.0 - torch.exp(-entropy_N)) ** self.gamma * entropy_N).mean()
