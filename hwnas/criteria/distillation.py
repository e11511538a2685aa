"""Learning from another network's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional


class TeacherLoss(Protocol):
    """A network's outputs and those of its teacher to a loss."""

    def __call__(self, outputs: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return a scalar, averaged over the batch."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation:
    """Divergence of softened class probabilities (Hinton et al. 2015), times the temperature squared."""

    temperature: float = 1.0

    def __call__(self, outputs: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Mean over the batch, and over positions; both are logits of shape [N, classes] or [N, classes, ...]."""
        log_student = functional.log_softmax(outputs / self.temperature, dim=1)
        log_teacher = functional.log_softmax(teacher / self.temperature, dim=1)
        divergence = functional.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean")
        num_positions = outputs[0, 0].numel()  # 1 for classes of whole images
        return divergence / num_positions * self.temperature**2


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingDistillation:
    """One less the cosine between what student and teacher say, for embeddings."""

    def __call__(self, outputs: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Mean over the batch; both are embeddings of shape [N, features]."""
        return 1.0 - functional.cosine_similarity(outputs, teacher, dim=1).mean()
