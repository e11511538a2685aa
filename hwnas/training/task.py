"""The task that networks are to learn: its agent, its data, and what a training needs of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.agents import TrainingAgent
from hwnas.components import find
from hwnas.config import TrainingConfig
from hwnas.criteria import CRITERIA, Criterion, CriterionSpec, SmoothedCrossEntropy
from hwnas.dataflow import Batches, Dataset, Split
from hwnas.dataflow.batches import TrainingBatches
from hwnas.dataflow.loader import LoaderBatches
from hwnas.errors import RequestError
from hwnas.training.mixing import require_mixable
from hwnas.training.randomness import seed_torch
from onnx_models.image_size import ImageSize
from search_spaces import SearchSpace


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingInputs:
    """The agent, its criterion, and the batches that train a network on a split."""

    agent: TrainingAgent
    criterion: Criterion
    batches: TrainingBatches


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearningTask:
    """The task that networks are to learn, and are scored by.

    Attributes:
        agent_class: trains and scores; made with a criterion, then for the space.
        space: of the networks.
        dataset: the data, limited and divided as the task wants them.
        seed: criteria with weights of their own begin with weights by it.
        at_size: gives the same images, divided alike, as they are read at another size; None where there are none.
    """

    agent_class: type[TrainingAgent]
    space: SearchSpace
    dataset: Dataset
    seed: int
    at_size: Callable[[ImageSize], Dataset] | None = None

    def at(self, size: ImageSize) -> LearningTask:
        """Return the task with its images at another size, as networks that are deployed for that are given them."""
        if size == self.dataset.input_size:
            return self
        assert self.at_size is not None, size
        return replace(self, dataset=self.at_size(size))

    @property
    def agent(self) -> TrainingAgent:
        """The training agent for scores; each training makes its own."""
        if self.agent_class.target_kind == "classes":
            return self._agent(SmoothedCrossEntropy())  # no score reads it; another's own weights would be untrained
        return self._agent(self._criterion(self.agent_class.default_criterion, num_classes=len(self.dataset.classes)))

    @property
    def test_agent(self) -> TrainingAgent:
        """The training agent for scores on the test images, by the pairs that the data name where they do."""
        agent, pairs = self.agent, self.dataset.test_pairs
        return agent if pairs is None else agent.for_pairs(pairs)

    def predictions(self, outputs: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """Return what a model's outputs say, as the training agent reads them."""
        found: NDArray[np.integer[Any]] = self.agent.predictions(torch.from_numpy(outputs)).numpy()
        return found

    def batches(self, split: Split, batch_size: int) -> Batches:
        """Return batches of a split of the data."""
        return Batches.of(self.dataset, split, batch_size)

    def training_inputs(self, config: TrainingConfig, split: Split) -> TrainingInputs:
        """Return what trains on a split; classes are numbered without gaps where some are held out.

        Raises:
            RequestError: images are to be mixed, and the task or the criterion has no use for mixed ones.
        """
        if self.agent_class.holds_out_classes:
            split = split.numbered_anew()
        is_of_classes = self.agent_class.target_kind == "classes"
        criterion = self._criterion(
            config.criterion or self.agent_class.default_criterion,
            num_classes=int(split.targets_N.max()) + 1 if is_of_classes else len(self.dataset.classes),
            label_smoothing=config.label_smoothing,
        )
        require_mixable(config, self.agent_class, criterion)
        batches: TrainingBatches = Batches.of(
            self.dataset, split, config.batch_size, images_per_class=config.images_per_class
        )
        if self.dataset.loader is not None:
            batches = LoaderBatches(loader=self.dataset.loader)
        return TrainingInputs(agent=self._agent(criterion), criterion=criterion, batches=batches)

    def _agent(self, criterion: Criterion) -> TrainingAgent:
        return self.agent_class(criterion=criterion).for_space(self.space)

    def _criterion(self, name: str, *, num_classes: int, label_smoothing: float = 0.0) -> Criterion:
        num_outputs = self.space.spec.num_classes
        spec = CriterionSpec(num_outputs=num_outputs, num_classes=num_classes, label_smoothing=label_smoothing)
        with torch.random.fork_rng(devices=[]):
            seed_torch(self.seed, "criterion")
            criterion: Criterion = find("criterion", name)(spec)
        return criterion


def require_trainable(config: TrainingConfig, task: type[TrainingAgent], *, task_name: str) -> None:
    """Raise RequestError where a task cannot be trained by settings that others can be."""
    name = config.criterion or task.default_criterion
    find("criterion", name)
    if task.criteria is not None and name in CRITERIA and name not in task.criteria:
        raise RequestError(
            f"criterion {name} is not for {task_name}: take {', '.join(sorted(task.criteria))}, or one of your own"
        )
    if config.images_per_class is not None and task.target_kind != "classes":
        raise RequestError(
            f"images_per_class is for tasks whose images have one class each, {task_name} learns from "
            f"{task.target_kind}: leave it out"
        )
