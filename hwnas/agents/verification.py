"""Verification: whether two images show the same identity, for identities never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hwnas.agents.agent import TrainingAgent
from hwnas.criteria import Criterion, EmbeddingDistillation, TeacherLoss
from hwnas.dataflow.dataset import Dataset
from hwnas.errors import RequestError
from hwnas.quantities import share

NUM_PAIRS = 6000
"""Half of them of the same identity, as in Labeled Faces in the Wild (Huang et al. 2007)."""

FALSE_ACCEPT_RATE = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class VerificationAgent(TrainingAgent):
    """Trains embeddings; scores them by cosine on pairs of images of held-out identities.

    The score is the accuracy at the best threshold, in 0.5 to 1.
    """

    default_criterion: ClassVar[str] = "arcface"
    holds_out_classes: ClassVar[bool] = True
    distillation: ClassVar[TeacherLoss | None] = EmbeddingDistillation()

    criterion: Criterion
    pairs_P2: torch.Tensor | None = None
    """[num, 2] positions of the images to be compared; None for pairs drawn at random, always the same ones."""

    def for_pairs(self, pairs_P2: torch.Tensor) -> VerificationAgent:
        """Return the same agent, scoring by those pairs."""
        return replace(self, pairs_P2=pairs_P2)

    @staticmethod
    def num_outputs(dataset: Dataset) -> int:
        """Features of the embedding."""
        return 128

    def loss(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Return the criterion of embeddings [N, features]."""
        return self.criterion(outputs, targets_N)

    def metrics(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    ) -> dict[str, float]:
        """Best-threshold accuracy, and the share of equal pairs accepted where 1 % of the others are.

        Raises:
            RequestError: the images are of fewer than two identities, or none has two images.
        """
        with torch.inference_mode():
            parts = [(functional.normalize(forward(x_NCHW)), targets_N) for x_NCHW, targets_N in batches]
        embeddings_ND = torch.cat([e for e, _ in parts]).numpy()
        targets_N = torch.cat([t for _, t in parts]).numpy()
        if self.pairs_P2 is None:
            one, other, is_same = verification_pairs(targets_N)
        else:
            one, other = self.pairs_P2.numpy().T
            is_same = targets_N[one] == targets_N[other]
            if is_same.all() or not is_same.any():
                raise RequestError("the pairs to be compared must be of the same and of different identities")
        cosines = np.einsum("pd,pd->p", embeddings_ND[one], embeddings_ND[other])
        return {
            "verification_accuracy": best_threshold_accuracy(cosines, is_same),
            f"tar_at_far_{FALSE_ACCEPT_RATE:g}": true_accept_rate(cosines, is_same, FALSE_ACCEPT_RATE),
        }


def verification_pairs(
    targets_N: NDArray[np.int64], *, num: int = NUM_PAIRS
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Positions of both images of each pair, and whether they are of one identity; always the same pairs.

    Raises:
        RequestError: there are fewer than two identities, or none has two images.
    """
    rng = np.random.default_rng(0)
    of_identity = [np.flatnonzero(targets_N == t) for t in np.unique(targets_N)]
    plural = [members for members in of_identity if len(members) > 1]
    if len(of_identity) < 2 or not plural:
        raise RequestError(
            f"verification needs pairs of the same and of different identities; got {len(of_identity)} identities, "
            f"{len(plural)} of them with two images or more"
        )
    # Identities count alike, however many images they have.
    same = np.array([rng.choice(plural[i], 2, replace=False) for i in rng.integers(len(plural), size=num // 2)])
    identities = np.array([rng.choice(len(of_identity), 2, replace=False) for _ in range(num // 2)])
    different = np.array([[rng.choice(of_identity[a]), rng.choice(of_identity[b])] for a, b in identities])
    pairs = np.concatenate([same, different])
    return pairs[:, 0], pairs[:, 1], np.arange(len(pairs)) < len(same)


def best_threshold_accuracy(similarities: NDArray[np.floating], is_same: NDArray[np.bool_]) -> float:
    """Return the largest share of pairs told rightly by any one threshold."""
    order = np.argsort(-similarities, kind="stable")
    sorted_similarities, right = similarities[order], is_same[order]
    # Accepting the first i pairs: those of them that are the same, and those after them that are not.
    correct = np.concatenate([[0], np.cumsum(right)]) + (~right).sum() - np.concatenate([[0], np.cumsum(~right)])
    # A threshold cannot fall between equal similarities.
    possible = np.concatenate([[True], sorted_similarities[1:] != sorted_similarities[:-1], [True]])
    return share(float(correct[possible].max()), len(right))


def true_accept_rate(similarities: NDArray[np.floating], is_same: NDArray[np.bool_], false_accept_rate: float) -> float:
    """Share of the same pairs above the threshold that lets through at most that share of the different ones."""
    different = np.sort(similarities[~is_same])[::-1]
    threshold = different[int(false_accept_rate * len(different))]
    return share(int((similarities[is_same] > threshold).sum()), int(is_same.sum()))
