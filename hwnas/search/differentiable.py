"""The architecture that a differentiable strategy learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas.constraint import HardLimits
from hwnas.errors import RequestError
from hwnas.search.agent import Constraint, Evaluation, SearchAgent, Space
from hwnas.search.sampling import FeasibleSampler
from search_spaces import Architecture
from search_spaces.supernet import MixableSupernet, Supernet

NUM_ATTEMPTS = 200


class DifferentiableAgent(SearchAgent):
    """Proposes by the choice probabilities that the supernet holds: the most likely feasible one first, then samples.

    Without a supernet all choices are equally likely. The most likely architecture is repaired where it breaks the
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
        self.reasons: dict[Architecture, str] = self._sampler.reasons
        self._log_probabilities = _log_probabilities(space, supernet)
        self._is_first = True

    def ask(self, num: int) -> list[Architecture]:
        """Return the most likely feasible architecture, then samples of the distribution, then of all feasible ones."""
        return self._sampler.fill(num, self._next)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing is learnt any more."""

    def _next(self, _num_found: int) -> Architecture | None:
        if self._is_first:
            self._is_first = False
            best = most_likely_feasible(self._log_probabilities, self._sampler.constraint)
            if best is not None and (found := self._sampler.first_unseen(lambda: best, 1)) is not None:
                self.reasons[found] = "most likely"
                return found
        found = self._sampler.first_unseen(self._draw, NUM_ATTEMPTS)
        if found is not None:
            self.reasons[found] = "sample of the learnt distribution"
        return found

    def _draw(self) -> Architecture:
        return tuple(int((log + self._rng.gumbel(size=len(log))).argmax()) for log in self._log_probabilities)


def most_likely_feasible(
    log_probabilities: Sequence[NDArray[np.float64]], constraint: Constraint
) -> Architecture | None:
    """Return the likeliest architecture of independent choices, repaired where it breaks the constraint.

    One after the other the change that loses the least likelihood per cost saved is made; None where no change saves.

    Args:
        log_probabilities: per decision [num_choices].
    """
    current = tuple(int(log.argmax()) for log in log_probabilities)
    cost = constraint.cost(current)
    while not constraint.is_met(current):
        changes = [
            (position, choice)
            for position, log in enumerate(log_probabilities)
            for choice in range(len(log))
            if choice != current[position]
        ]
        changed = [(*current[:position], choice, *current[position + 1 :]) for position, choice in changes]
        if isinstance(constraint, HardLimits):
            costs = constraint.worst_share(np.array(changed))
        else:
            costs = np.array([constraint.cost(each) for each in changed])
        lost = np.array([log_probabilities[p][current[p]] - log_probabilities[p][c] for p, c in changes])
        saved = cost - costs
        if not (saved > 0).any():
            return None
        best = int(np.where(saved > 0, lost / np.where(saved > 0, saved, 1.0), np.inf).argmin())
        current, cost = changed[best], float(costs[best])
    return current


def _log_probabilities(space: Space, supernet: Supernet | None) -> list[NDArray[np.float64]]:
    if supernet is None:
        return [np.zeros(len(d.choices)) for d in space.decisions]
    logits = supernet.choice_logits() if isinstance(supernet, MixableSupernet) else []
    if not logits:
        raise RequestError(
            "the differentiable agent reads what a differentiable strategy learnt: train with --strategy softmax, "
            "gumbel or binarised, or use another agent"
        )
    return [each.detach().double().log_softmax(dim=0).numpy() for each in logits]
