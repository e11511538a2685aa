"""The contract of training agents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Protocol

import torch

from hwnas.criteria import Criterion, TeacherLoss
from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.targets import TargetKind
from search_spaces import SearchSpace
from search_spaces.space import HeadKind

Batch = tuple[torch.Tensor, torch.Tensor]
"""x_NCHW and targets_N."""

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Maps x_NCHW to a network's outputs."""


class TrainingAgent(Protocol):
    """Owns the criterion and the metrics of a task. Made as `Agent(criterion=...)`.

    Agents inherit from it, so that they have the defaults of what they say nothing of.

    Attributes:
        head: what networks of the task end in; spaces are made with it. A classifier is the end of the space itself.
        target_kind: what it learns from: classes of images, boxes on them, or masks of their pixels.
        default_criterion: where the configuration names none; see `hwnas.criteria.CRITERIA`.
        criteria: the built-in criteria that it can minimise, which are given what its loss gives them; None for all.
        holds_out_classes: whether it is scored on classes that were not trained on, instead of other images.
        search_metric: the name of the metric that ranks a supernet's subnets; None for the score, the first of them.
        scores_images_alone: whether that metric of part of the images estimates that of all, so that a search may
            compare subnets by the first images and stop early.
        distillation: the loss of outputs against a teacher's, for networks that learn from each other; None for that of
            logits.
    """

    head: ClassVar[HeadKind] = "classifier"
    target_kind: ClassVar[TargetKind] = "classes"
    default_criterion: ClassVar[str]
    criteria: ClassVar[frozenset[str] | None] = None
    holds_out_classes: ClassVar[bool] = False
    search_metric: ClassVar[str | None] = None
    scores_images_alone: ClassVar[bool] = False
    distillation: ClassVar[TeacherLoss | None] = None

    def __init__(self, *, criterion: Criterion) -> None: ...

    @staticmethod
    @abstractmethod
    def num_outputs(dataset: Dataset) -> int:
        """Return the number of outputs that a network of the task has."""

    @abstractmethod
    def loss(self, outputs: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Return the scalar that one training step minimises."""

    def step(
        self, network: Forward, x_NCHW: torch.Tensor, targets_N: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a network's outputs for a batch, and the scalar that one training step minimises.

        The loss of the outputs, unless an agent does more with the network or the images.
        """
        outputs = network(x_NCHW)
        return outputs, self.loss(outputs, targets_N)

    @abstractmethod
    def metrics(self, forward: Forward, batches: Iterable[Batch]) -> Mapping[str, float]:
        """Return the metrics of a network on those batches, by name; the first is the score, higher is better."""

    def search_score(self, forward: Forward, batches: Iterable[Batch]) -> float:
        """Return the metric that ranks a supernet's subnets; alone, where the others take long to compute."""
        metrics = self.metrics(forward, batches)
        return metrics[self.search_metric or next(iter(metrics))]

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return what outputs say: for each image or position the index of the largest, along the second axis.

        An exported model is to say the same as the network.
        """
        return outputs.argmax(dim=1)

    def for_space(self, space: SearchSpace) -> TrainingAgent:
        """Return the agent for the networks of a space; this one, unless it has to know something of them.

        Raises:
            RequestError: networks of the space are of no use for the task.
        """
        return self

    def for_pairs(self, pairs_P2: torch.Tensor) -> TrainingAgent:
        """Return the agent whose metrics compare those pairs of images; this one, unless its metrics compare images.

        Args:
            pairs_P2: [num, 2] positions of the images.
        """
        return self


def score_of(agent: TrainingAgent, forward: Forward, batches: Iterable[Batch]) -> float:
    """Return the first metric: what the search maximises."""
    return next(iter(agent.metrics(forward, batches).values()))
