"""Search guided by a predictor of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hwnas.constraint import HardLimits, is_latency, latencies
from hwnas.errors import RequestError
from hwnas.search.acquisition import EXPLORATION, Acquisition, FrontGrowth, UpperBound
from hwnas.search.agent import Constraint, Evaluation, SearchAgent, Space
from hwnas.search.gaussian_process import ChoiceProcess, Features, Posterior, no_features
from hwnas.search.nsga2 import pareto_front
from hwnas.search.sampling import FeasibleSampler
from hwnas.setting_types import Objective
from search_spaces import Architecture, SearchSpace

NUM_INITIAL = 12
"""Random architectures before the predictor is asked."""

NUM_RANDOM, NUM_PARENTS, NUM_CHANGED = 500, 20, 75
"""Numbers of candidates where there are too many to list: random ones, the best so far, and changes of each best."""

REFIT_GROWTH = 1.15
"""The predictor's length scales are fitted again once there are so many times more observations."""

SHORTLIST = 400
"""The number of candidates, those that are wanted most, that a batch is chosen from."""


class PredictorAgent(SearchAgent):
    """A Gaussian process over choices, paths and costs scores every feasible candidate; the best are asked for.

    As Bayesian optimisation over architectures (White et al. 2021, BANANAS, compares predictors and acquisitions):
    scores are turned into normal quantiles of their ranks, so that a few failures do not matter; a batch is the most
    wanted candidates one after the other, each time as if the ones before had turned out as predicted (Desautels et al.
    2014). For the best score those are wanted that have the largest upper confidence bounds; for the front, those that
    it is expected to grow by.

    Args:
        features: what else is known of architectures, such as zero-cost proxies.
        objective: the best score, or the front of score and latencies.

    Raises:
        RequestError: there are no latencies to seek a front of.
    """

    reads_features: ClassVar[bool] = True
    objectives: ClassVar[tuple[Objective, ...]] = ("score", "front")

    def __init__(
        self,
        space: Space,
        constraint: Constraint,
        rng: np.random.Generator,
        *,
        features: Features = no_features,
        objective: Objective = "score",
    ) -> None:
        self._space = space
        self._rng = rng
        self._constraint = constraint
        self._features = features
        self._latencies = _latencies_of(constraint) if objective == "front" else None
        self._sampler = FeasibleSampler(space, constraint, rng)
        self.reasons: dict[Architecture, str] = self._sampler.reasons
        self._told: list[Evaluation] = []
        self._process: ChoiceProcess | None = None
        self._num_fitted = 0

    def ask(self, num: int) -> list[Architecture]:
        """Return a random initial design, then what the predictor expects most of; random ones where it knows none."""
        num_initial = min(num, max(0, NUM_INITIAL - len(self._told)))
        found = self._sampler.fill(num_initial, lambda _: None)
        if len(found) == num_initial < num:
            found += self._promising(num - len(found))
        return found + self._sampler.fill(num - len(found), lambda _: None)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember them; the predictor learns when it is asked next."""
        self._told += evaluations

    def _promising(self, num: int) -> list[Architecture]:
        if len(self._told) < 2:
            return []
        candidates = self._candidates()
        if not len(candidates):
            return []
        if self._process is None:
            self._process = self._process_for(candidates)
        rows = np.array([e.architecture for e in self._told])
        values = normal_scores(np.array([e.score for e in self._told]))
        if len(rows) >= REFIT_GROWTH * self._num_fitted:
            self._process.fit(rows, values)
            self._num_fitted = len(rows)
        acquisition: Acquisition = UpperBound()
        if self._latencies is not None:
            acquisition = FrontGrowth(self._latencies.all_costs, rows, values, candidates, self._rng)
        return self._chosen(self._process.condition(rows, values), candidates, num, acquisition)

    def _chosen(
        self, posterior: Posterior, candidates: NDArray[np.int64], num: int, acquisition: Acquisition
    ) -> list[Architecture]:
        """Return the candidates that are wanted most, each as if the ones before had turned out as predicted."""
        mean, variance = posterior.predict(candidates)
        wanted = acquisition.wanted(candidates, mean, np.sqrt(variance))
        shortlist = candidates[np.argsort(-wanted, kind="stable")[:SHORTLIST]]
        mean, covariance = posterior.joint(shortlist)
        found: list[Architecture] = []
        is_left = np.ones(len(shortlist), dtype=bool)
        while len(found) < num and is_left.any():
            deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
            wanted = acquisition.wanted(shortlist, mean, deviation)
            best = int(np.where(is_left, wanted, -np.inf).argmax())
            is_left[best] = False
            acquisition.take(shortlist[best], float(mean[best]))
            architecture = tuple(int(c) for c in shortlist[best])
            self._sampler.seen.add(architecture)
            most = mean[best] + EXPLORATION * deviation[best]
            self.reasons[architecture] = f"predicted {mean[best]:+.2f}, at most {most:+.2f} deviations from the mean"
            found.append(architecture)
            column = covariance[:, best]
            covariance = covariance - np.outer(column, column) / (column[best] + 1e-6)
        return found

    def _process_for(self, candidates: NDArray[np.int64]) -> ChoiceProcess:
        """Accuracy grows with costs more often than not: they are features, as they spread over the candidates."""
        known = [self._features]
        if isinstance(self._constraint, HardLimits):
            known.append(self._constraint.all_costs)

        def figures(rows: NDArray[np.integer]) -> NDArray[np.float64]:
            return np.concatenate([each(rows) for each in known], axis=1)

        of_candidates = figures(candidates)
        mean, std = of_candidates.mean(axis=0), of_candidates.std(axis=0)
        std[std <= 1e-9 * np.abs(mean)] = np.inf  # all alike: nothing to learn from
        paths = self._space.paths if isinstance(self._space, SearchSpace) else None
        return ChoiceProcess(
            num_decisions=len(self._space.decisions),
            features=lambda rows: (figures(rows) - mean) / std,
            paths=paths if paths is not None and paths(candidates[:1]).shape[1] else None,
        )

    def _candidates(self) -> NDArray[np.int64]:
        """Return [num, num_decisions] feasible architectures in canonical form that were not asked for."""
        sizes = [len(d.choices) for d in self._space.decisions]
        if self._sampler.listed is not None:
            return self._unseen(self._sampler.listed)
        best = self._parents()
        parents = np.repeat(np.array([e.architecture for e in best]), NUM_CHANGED, axis=0)
        fresh = self._rng.integers(sizes, size=parents.shape)
        # Mostly one or two choices change; crossings with another of the best bring in more.
        is_drawn = self._rng.random(parents.shape) < 1.5 / len(sizes)
        is_drawn[np.arange(len(parents)), self._rng.integers(len(sizes), size=len(parents))] = True
        changed = np.where(is_drawn, fresh, parents)
        others = parents[self._rng.permutation(len(parents))]
        crossed = np.where(self._rng.random(parents.shape) < 0.5, parents, others)
        pool = np.concatenate([changed, crossed, self._sampler.peek(NUM_RANDOM)])
        return self._unseen(self._sampler.feasible(pool))

    def _parents(self) -> list[Evaluation]:
        """Return the best so far: by their scores, or of the front some that are spread evenly along it."""
        if self._latencies is None:
            return sorted(self._told, key=lambda e: -e.score)[:NUM_PARENTS]
        front = pareto_front([replace(e, costs=latencies(e.costs)) for e in self._told])
        return [front[i] for i in np.unique(np.linspace(0, len(front) - 1, NUM_PARENTS).round().astype(int))]

    def _unseen(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        seen = self._sampler.seen
        return rows[[tuple(row) not in seen for row in rows.tolist()]] if len(rows) else rows


def _latencies_of(constraint: Constraint) -> HardLimits:
    """Return the latencies among what is limited or known of networks.

    Raises:
        RequestError: there are none.
    """
    limits = constraint.limits if isinstance(constraint, HardLimits) else ()
    if not (found := [limit for limit in limits if is_latency(limit.name)]):
        raise RequestError("a front is of scores and latencies: expected a latency table, found none")
    return HardLimits(limits=found)


def normal_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal quantiles of the ranks, ties sharing theirs, with mean near 0 and standard deviation near 1."""
    from scipy.stats import rankdata

    quantiles: NDArray[np.float64] = ndtri((rankdata(scores) - 0.5) / len(scores))
    return quantiles
