"""Losses on embeddings, for verification. N images, D features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchHardTriplet:
    """For each image its furthest fellow and its nearest stranger in the batch (Hermans et al. 2017)."""

    compares_images: ClassVar[bool] = True

    margin: float = 0.3

    def __call__(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Mean over the images that have a fellow and a stranger in the batch; outputs are embeddings [N, D]."""
        unit_ND = functional.normalize(outputs)
        distance_NN = torch.cdist(unit_ND, unit_ND)
        is_same = targets_N[:, None] == targets_N[None, :]
        itself = torch.eye(len(targets_N), dtype=torch.bool, device=targets_N.device)
        furthest_N = distance_NN.masked_fill(~(is_same & ~itself), 0.0).amax(dim=1)
        nearest_N = distance_NN.masked_fill(is_same, math.inf).amin(dim=1)
        usable = (is_same & ~itself).any(dim=1) & (~is_same).any(dim=1)
        losses_N = functional.relu(furthest_N - torch.where(usable, nearest_N, 0.0) + self.margin)
        return (losses_N * usable).sum() / usable.sum().clamp(min=1)


class AdditiveAngularMargin(nn.Module):
    """Cross entropy of scaled cosines to learnt centres, the right one's angle enlarged (Deng et al. 2019, ArcFace).

    Args:
        num_features: of the embeddings.
        num_classes: identities in training.
        margin: in radians.
    """

    def __init__(self, num_features: int, num_classes: int, *, scale: float = 30.0, margin: float = 0.3) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.empty(num_classes, num_features))
        nn.init.normal_(self.centres, std=0.01)
        self.scale = scale
        self.margin = margin

    def forward(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Mean over the batch; outputs are embeddings [N, D]."""
        cosine = functional.linear(functional.normalize(outputs), functional.normalize(self.centres))
        right = cosine.gather(1, targets_N[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        # Beyond pi the enlarged angle would come down again.
        enlarged = torch.cos((torch.acos(right) + self.margin).clamp(max=math.pi))
        logits = self.scale * cosine.scatter(1, targets_N[:, None], enlarged)
        return functional.cross_entropy(logits, targets_N)
