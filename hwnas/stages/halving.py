"""Short trainings of the best networks of a search, before one of them is named the winner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from hwnas.errors import RunError
from hwnas.progress import Reporter
from hwnas.records import STRICT
from hwnas.search import Evaluation
from hwnas.search.nsga2 import rank_and_crowding
from hwnas.setting_types import Count
from safe_files.writing import JsonLines
from search_spaces import Architecture
from search_spaces.cost import GraphCosts

TrainAndScore = Callable[[Architecture, int], float]
"""Trains a network alone, as the winner will be but for so many epochs, and scores it on the images of the search."""


@validated(frozen=True, kw_only=True, slots=True, config=STRICT)
class _Trained:
    """A line of the file that keeps the scores."""

    architecture: Architecture
    epochs: Count
    score: float


_TRAINED = TypeAdapter(_Trained)


def contenders(evaluations: Sequence[Evaluation], costs: GraphCosts, num: int) -> list[Evaluation]:
    """Return the networks that deserve a training of their own, by the fronts of score and multiply-accumulates.

    A supernet that is hardly trained may tell networks apart less well than their sizes do, so that a larger network
    with a lower score is no worse a candidate than a smaller one with a higher score. Of a front that is longer than
    there is room for, networks far from each other are taken.

    Args:
        num: how many, or all there are where those are fewer.
    """
    if not evaluations:
        return []
    macs = costs.macs(np.array([e.architecture for e in evaluations]))
    sized = [replace(e, costs={"fewer_macs": -float(m)}) for e, m in zip(evaluations, macs, strict=True)]
    fronts, distances = rank_and_crowding(sized)
    order = np.lexsort((-distances, fronts))
    return sorted((evaluations[i] for i in order[:num]), key=lambda e: -e.score)


def halved(
    architectures: Sequence[Architecture],
    scores: Callable[[Sequence[Architecture], int], Sequence[float]],
    *,
    epochs: int,
    most_epochs: int,
) -> list[Architecture]:
    """Return networks in order, the best first, by successive halving (Jamieson and Talwalkar 2016).

    All are trained for some epochs, the better half of them for twice as many, and so on, until one is left or
    networks would be trained for longer than the winner will be.

    Args:
        scores: trains networks for so many epochs, and gives their scores in the same order.
        epochs: of the first trainings.
        most_epochs: of the winner's training.
    """
    left, beaten = list(dict.fromkeys(architectures)), list[Architecture]()
    while len(left) > 1 and epochs <= max(most_epochs, 1):
        by_score = dict(zip(left, scores(left, epochs), strict=True))
        left.sort(key=lambda a: -by_score[a])
        num_kept = (len(left) + 1) // 2
        left, beaten = left[:num_kept], left[num_kept:] + beaten
        epochs *= 2
    return left + beaten


def trained_epochs(num: int, *, epochs: int, most_epochs: int) -> int:
    """Return the epochs that all trainings of so many networks take together."""
    total = 0

    def count(architectures: Sequence[Architecture], for_epochs: int) -> list[float]:
        nonlocal total
        total += len(architectures) * for_epochs
        return [0.0] * len(architectures)

    halved([(number,) for number in range(num)], count, epochs=epochs, most_epochs=most_epochs)
    return total


@dataclass(kw_only=True, slots=True, eq=False)
class ShortTrainings:
    """The order of finalists by what they score when each is trained alone for a few epochs.

    Every score is written down at once: what was trained before is read.

    Attributes:
        num: networks that are trained at most.
        epochs: of the first trainings.
        most_epochs: of the winner's training.
        train: trains and scores one network.
        path: the file that keeps the scores.
        are_begun: whether the search's own scores are those of the first trainings.
    """

    num: int
    epochs: int
    most_epochs: int
    train: TrainAndScore
    costs: GraphCosts
    path: Path
    reporter: Reporter
    are_begun: bool = False
    _known: dict[tuple[Architecture, int], float] = field(default_factory=dict)

    def worth_measuring(self, ranked: Sequence[Evaluation]) -> list[Evaluation]:
        """Return networks in the order they are to be measured in: those that may be trained come first."""
        first = contenders(ranked, self.costs, self.num)
        return first + [e for e in ranked if e not in first]

    def ranked(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """Return the networks in order, the best first: those that were trained, then the others by their scores."""
        first = {e.architecture: e for e in contenders(evaluations, self.costs, self.num)}
        if self.are_begun:
            self._known |= {(a, self.epochs): e.score for a, e in first.items()}
        order = halved(list(first), self._scores, epochs=self.epochs, most_epochs=self.most_epochs)
        others = sorted((e for e in evaluations if e.architecture not in first), key=lambda e: -e.score)
        return [first[a] for a in order] + others

    def _scores(self, architectures: Sequence[Architecture], epochs: int) -> list[float]:
        """Return the scores of networks trained for so many epochs.

        Raises:
            RunError: the file is damaged, or a training diverged.
        """
        kept = self._opened()
        try:
            new = [a for a in architectures if (a, epochs) not in self._known]
            if new:
                noun = "epoch" if epochs == 1 else "epochs"
                with self.reporter.task(f"finalists, {epochs} {noun} each", len(new)) as task:
                    for done, architecture in enumerate(new, start=1):
                        score = self.train(architecture, epochs)
                        kept.append({"architecture": list(architecture), "epochs": epochs, "score": score})
                        self._known[architecture, epochs] = score
                        task.update(done, f"{'-'.join(map(str, architecture))} {score:.4f}")
        finally:
            kept.close()
        return [self._known[a, epochs] for a in architectures]

    def _opened(self) -> JsonLines:
        """Return the file, with what it tells read."""
        try:
            kept = JsonLines(self.path)
        except ValueError as error:
            raise _damaged(error) from error
        try:
            rows = [_TRAINED.validate_python(record) for record in kept.records]
        except ValidationError as error:
            kept.close()
            raise _damaged(f"{self.path} has a line that is no training: {error.errors()[0]['msg']}") from error
        self._known |= {(row.architecture, row.epochs): row.score for row in rows}
        return kept


def _damaged(what: object) -> RunError:
    return RunError(f"{what}; remove the file to train them again")
