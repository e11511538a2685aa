"""Random search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.search.agent import Constraint, Evaluation, SearchAgent, Space
from hwnas.search.sampling import FeasibleSampler
from search_spaces import Architecture


class RandomAgent(SearchAgent):
    """Feasible architectures at random; what every other agent has to beat (Li and Talwalkar 2019)."""

    def __init__(self, space: Space, constraint: Constraint, rng: np.random.Generator) -> None:
        self._sampler = FeasibleSampler(space, constraint, rng)
        self.reasons: dict[Architecture, str] = self._sampler.reasons

    def ask(self, num: int) -> list[Architecture]:
        """Unseen feasible architectures."""
        return self._sampler.fill(num, lambda _: None)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing is learnt."""
