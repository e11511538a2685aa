"""The architecture that a differentiable strategy learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import RequestError
from hwnas.search.agent import Constraint, Evaluation, Space
from hwnas.search.sampling import FeasibleSampler
from search_spaces import Architecture
from search_spaces.supernet import Supernet

NUM_ATTEMPTS = 200


class DifferentiableAgent:
    """Proposes by the choice probabilities that the supernet holds: the most likely feasible one first, then samples.

    Without a supernet all choices are equally likely. The most likely architecture is mended where it breaks the
    constraint: changes that lose the least likelihood per cost saved, until it does not.

    Raises:
        RequestError: the supernet was trained without choice probabilities.
    """

    reads_supernet: ClassVar[bool] = True

    def __init__(
        self, space: Space, constraint: Constraint, rng: np.random.Generator, supernet: Supernet | None = None
    ) -> None:
        self._rng = rng
        self._sampler = FeasibleSampler(space, constraint, rng)
        self._log_probabilities = _log_probabilities(space, supernet)
        self._is_first = True

    def ask(self, num: int) -> list[Architecture]:
        """The most likely feasible architecture, then samples of the distribution, then of all feasible ones."""
        found: list[Architecture] = []
        if self._is_first and num:
            self._is_first = False
            best = self._mended()
            if best is not None:
                found += filter(None, [self._sampler.first_unseen(lambda: best, 1)])
        while len(found) < num:
            architecture = self._sampler.first_unseen(self._draw, NUM_ATTEMPTS) or self._sampler.sample()
            if architecture is None:
                break
            found.append(architecture)
        return found

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing is learnt any more."""

    def _draw(self) -> Architecture:
        return tuple(int((log + self._rng.gumbel(size=len(log))).argmax()) for log in self._log_probabilities)

    def _mended(self) -> Architecture | None:
        constraint = self._sampler.constraint
        current = tuple(int(log.argmax()) for log in self._log_probabilities)
        cost = constraint.cost(current)
        while not constraint.is_met(current):
            best: tuple[float, Architecture, float] | None = None
            for position, log in enumerate(self._log_probabilities):
                for choice in range(len(log)):
                    changed = (*current[:position], choice, *current[position + 1 :])
                    saved = cost - (changed_cost := constraint.cost(changed))
                    if saved <= 0:
                        continue
                    lost_per_saved = float(log[current[position]] - log[choice]) / saved
                    if best is None or lost_per_saved < best[0]:
                        best = (lost_per_saved, changed, changed_cost)
            if best is None:
                return None
            _, current, cost = best
        return current


def _log_probabilities(space: Space, supernet: Supernet | None) -> list[NDArray[np.float64]]:
    if supernet is None:
        return [np.zeros(len(d.choices)) for d in space.decisions]
    logits = getattr(supernet, "decision_logits", None)
    if not logits:
        raise RequestError(
            "the differentiable agent reads what a differentiable strategy learnt: train with --strategy softmax, "
            "gumbel or binarised, or use another agent"
        )
    return [each.detach().double().log_softmax(dim=0).numpy() for each in logits]
