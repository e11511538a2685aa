"""The inputs of an evaluator."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.config import RetrainConfig
from hwnas.dataflow.splits import Splits
from hwnas.training.task import LearningTask
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaluatorInputs:
    """The space, the images and the networks that an evaluator may use.

    Attributes:
        space: the search space, fitted to the data.
        supernet: trained where the evaluator is the built-in `supernet`, or a setting needs it; else as it began.
        task: trains and scores networks on the data: `task.agent` scores, `task.dataset` has the data, and
            `task.training_inputs(training, split)` is what trains on a split.
        splits: `train`, the images that may be trained on, and `validation`, those that drive the search.
        training: settings of a network that is trained alone for a little while.
        batch_size: of the supernet's training.
        recalibration_batches: how many of those a subnet's BatchNorm statistics come from.
        seed: everything random must depend on it.
    """

    space: SearchSpace
    supernet: Supernet
    task: LearningTask
    splits: Splits
    training: RetrainConfig
    batch_size: int
    recalibration_batches: int
    seed: int
