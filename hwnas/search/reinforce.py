"""Policy gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.search.agent import Constraint, Evaluation, SearchAgent, Space
from hwnas.search.sampling import FeasibleSampler
from search_spaces import Architecture

LEARNING_RATE = 0.15
ENTROPY_WEIGHT = 0.01
BASELINE_DECAY = 0.9
NUM_ATTEMPTS = 100


class ReinforceAgent(SearchAgent):
    """A policy of independent choices, moved towards what scored above a running mean (Zoph and Le 2017).

    Advantages are divided by the running deviation of the scores, so that the learning rate fits any task.
    """

    def __init__(self, space: Space, constraint: Constraint, rng: np.random.Generator) -> None:
        self._rng = rng
        self._sampler = FeasibleSampler(space, constraint, rng)
        self.reasons: dict[Architecture, str] = self._sampler.reasons
        self._logits = [np.zeros(len(d.choices)) for d in space.decisions]
        self._mean: float | None = None
        self._variance = 0.0

    def ask(self, num: int) -> list[Architecture]:
        """Samples of the policy; random feasible architectures where it gives nothing new."""
        return self._sampler.fill(num, self._next)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """One step of gradient ascent on the expected advantage and the policy's entropy."""
        for evaluation in evaluations:
            mean = evaluation.score if self._mean is None else self._mean
            away = evaluation.score - mean
            self._variance = BASELINE_DECAY * self._variance + (1 - BASELINE_DECAY) * away**2
            self._mean = mean + (1 - BASELINE_DECAY) * away
            advantage = away / max(np.sqrt(self._variance), 1e-9)
            for logits, choice in zip(self._logits, evaluation.architecture, strict=True):
                probabilities = _softmax(logits)
                gradient = -advantage * probabilities
                gradient[choice] += advantage
                log = np.log(probabilities + 1e-12)
                entropy = -probabilities * (log - (probabilities * log).sum())
                logits += LEARNING_RATE * (gradient + ENTROPY_WEIGHT * entropy)

    def _next(self, _num_found: int) -> Architecture | None:
        found = self._sampler.first_unseen(self._draw, NUM_ATTEMPTS)
        if found is not None:
            self.reasons[found] = "sample of the policy"
        return found

    def _draw(self) -> Architecture:
        return tuple(int((logits + self._rng.gumbel(size=len(logits))).argmax()) for logits in self._logits)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max())
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum()
    return probabilities
