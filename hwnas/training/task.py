"""The task that networks are to learn: its agent, its data, and what a training needs of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from hwnas.agents import TrainingAgent
from hwnas.components import find
from hwnas.config import TrainingConfig
from hwnas.criteria import Criterion, CriterionSpec, SmoothedCrossEntropy
from hwnas.dataflow import Batches, Dataset, Split
from hwnas.training.mixing import require_mixable
from hwnas.training.randomness import seed_torch
from onnx_models.image_size import ImageSize


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingInputs:
    """The agent, its criterion, and the batches that train a network on a split."""

    agent: TrainingAgent
    criterion: Criterion
    batches: Batches


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearningTask:
    """The task that networks are to learn, and are scored by.

    Attributes:
        agent_class: trains and scores; made with a criterion.
        dataset: the data, limited and divided as the task wants them.
        num_outputs: of the networks.
        seed: criteria with weights of their own begin with weights by it.
        at_size: gives the same images, divided alike, as they are read at another size; None where there are none.
    """

    agent_class: type[TrainingAgent]
    dataset: Dataset
    num_outputs: int
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
        return self.agent_class(criterion=SmoothedCrossEntropy())

    @property
    def test_agent(self) -> TrainingAgent:
        """The training agent for scores on the test images, by the pairs that the data name where they do."""
        agent, pairs = self.agent, self.dataset.test_pairs
        return agent if pairs is None else agent.for_pairs(pairs)

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
        spec = CriterionSpec(
            num_outputs=self.num_outputs,
            num_classes=int(split.targets_N.max()) + 1,
            label_smoothing=config.label_smoothing,
        )
        with torch.random.fork_rng(devices=[]):
            seed_torch(self.seed, "criterion")
            criterion = find("criterion", config.criterion or self.agent_class.default_criterion)(spec)
        require_mixable(config, self.agent_class, criterion)
        batches = Batches.of(self.dataset, split, config.batch_size, images_per_class=config.images_per_class)
        return TrainingInputs(agent=self.agent_class(criterion=criterion), criterion=criterion, batches=batches)
