"""Losses by a sigmoid for each class: of class indices, and of scores that a network should give.

Legend: X images or points, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class BinaryCrossEntropy:
    """Cross entropy of a sigmoid for each class."""

    def __call__(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Return the sum over the sum of targets; those are classes [X], or scores [X, K] in 0 to 1."""
        scores_XK = _scores(outputs, targets_N)
        return _normalised(_entropies(outputs, scores_XK), scores_XK)


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityFocal:
    """Binary cross entropy, weighed by how far the score is off (Li et al. 2020, Generalized Focal Loss)."""

    gamma: float = 2.0

    def __call__(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Return the sum over the sum of targets; those are classes [X], or scores [X, K] in 0 to 1."""
        scores_XK = _scores(outputs, targets_N)
        off_XK = (outputs.sigmoid() - scores_XK).abs()
        return _normalised(off_XK**self.gamma * _entropies(outputs, scores_XK), scores_XK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Varifocal:
    """Binary cross entropy; what should score 0 weighs less the surer, the rest by its target (Zhang et al. 2021)."""

    alpha: float = 0.75
    gamma: float = 2.0

    def __call__(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Return the sum over the sum of targets; those are classes [X], or scores [X, K] in 0 to 1."""
        scores_XK = _scores(outputs, targets_N)
        weights_XK = torch.where(scores_XK > 0, scores_XK, self.alpha * outputs.sigmoid() ** self.gamma)
        return _normalised(weights_XK * _entropies(outputs, scores_XK), scores_XK)


def normaliser(scores_XK: torch.Tensor) -> torch.Tensor:
    """Return what losses of scores are divided by: their sum, at least 1; the images where each has one class."""
    return scores_XK.sum(dtype=torch.float32).clamp(min=1.0)  # in bfloat16 it would have three digits


def _scores(outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    if targets_N.is_floating_point():
        return targets_N
    return functional.one_hot(targets_N, outputs.shape[1]).to(outputs.dtype)


def _entropies(outputs: torch.Tensor, scores_XK: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(outputs, scores_XK, reduction="none")


def _normalised(losses_XK: torch.Tensor, scores_XK: torch.Tensor) -> torch.Tensor:
    return losses_XK.sum() / normaliser(scores_XK)
