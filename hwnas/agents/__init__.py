"""Training agents: what a task's loss and its measure of success are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Protocol

import torch

from hwnas.agents.classification import ClassificationAgent
from hwnas.agents.verification import VerificationAgent
from hwnas.criteria import Criterion
from hwnas.dataflow.dataset import Dataset

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Maps x_NCHW to a network's outputs."""


class TrainingAgent(Protocol):
    """Owns the criterion and the metrics of a task. Made as `Agent(criterion=...)`.

    Attributes:
        default_criterion: where the configuration names none; see `hwnas.criteria.CRITERIA`.
        holds_out_classes: whether it is judged on classes that were not trained on, instead of other images.

    An agent whose outputs are no logits may have a `distillation`, how far outputs are from a teacher's, for strategies
    in which networks learn from each other. It may have a `search_metric`, the name of the metric that ranks a
    supernet's subnets, where that is not the score. Where it says `judges_images_alone`, metrics of part of the images
    estimate those of all, so that a search may compare subnets by the first ones and give up the hopeless.
    """

    default_criterion: ClassVar[str]
    holds_out_classes: ClassVar[bool]

    def __init__(self, *, criterion: Criterion) -> None: ...

    @staticmethod
    def num_outputs(dataset: Dataset) -> int:
        """Return the number of outputs that a network of the task has."""
        ...

    def loss(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Return the scalar that one training step minimises."""
        ...

    def metrics(self, forward: Forward, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Mapping[str, float]:
        """Return the metrics of a network on those batches, by name; the first is the score, higher is better."""
        ...


def score_of(agent: TrainingAgent, forward: Forward, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The first metric: what the search maximises."""
    return next(iter(agent.metrics(forward, batches).values()))


TASKS: dict[str, type[TrainingAgent]] = {"classification": ClassificationAgent, "verification": VerificationAgent}
"""Training agents by the task's name."""

__all__ = ["TASKS", "ClassificationAgent", "Forward", "TrainingAgent", "VerificationAgent", "score_of"]
