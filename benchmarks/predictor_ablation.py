"""What each part of the predictor brings, and what other predictors and acquisitions would: mean validation regret.

Every variant differs from the predictor in what its name says. The tasks are those of `search_tabular.py`, for one
device and for two, and more quantiles of each of the two devices' latencies.

    python benchmarks/predictor_ablation.py --data DIR --seeds 20
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch

import arguments
import numpy as np
import search_tabular
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from sklearn.ensemble import RandomForestRegressor

from hwnas.constraint import HardLimits
from hwnas.search import AGENTS, PredictorAgent
from hwnas.search.acquisition import EXPLORATION, Acquisition
from hwnas.search.gaussian_process import Posterior
from hwnas.search.predictor import SHORTLIST
from hwnas.surrogate import one_hot
from search_spaces import Architecture, SearchSpace

NUM_TREES = 100

FURTHER_TASKS = {
    f"nb201 {device} q{quantile}": ("nb201", ((f"lat_{file}", quantile / 100),))
    for device, file in (("pi4", "raspi4"), ("pixel3", "pixel3"))
    for quantile in (10, 25, 50, 75)
}


class Thompson(PredictorAgent):
    """Asks for the best of each of several draws from the posterior."""

    def _chosen(
        self, posterior: Posterior, candidates: NDArray[np.int64], num: int, acquisition: Acquisition
    ) -> list[Architecture]:
        mean, variance = posterior.predict(candidates)
        order = np.argsort(-(mean + EXPLORATION * np.sqrt(variance)), kind="stable")
        shortlist = candidates[order[:SHORTLIST]]
        mean, covariance = posterior.joint(shortlist)
        draws = self._rng.multivariate_normal(mean, covariance, size=num, method="eigh", check_valid="ignore")
        found: list[Architecture] = []
        for draw in draws:
            draw[[tuple(row) in found for row in shortlist.tolist()]] = -np.inf
            found.append(tuple(int(c) for c in shortlist[int(draw.argmax())]))
        self._sampler.seen.update(found)
        return found


class ExpectedImprovement(PredictorAgent):
    """Asks for the largest expected improvements over the best score, by the marginals."""

    def _chosen(
        self, posterior: Posterior, candidates: NDArray[np.int64], num: int, acquisition: Acquisition
    ) -> list[Architecture]:
        mean, variance = posterior.predict(candidates)
        deviation = np.sqrt(variance)
        best = max(posterior.mean(posterior.rows))
        ratio = (mean - best) / deviation
        return _first(self, candidates, deviation * (ratio * norm.cdf(ratio) + norm.pdf(ratio)), num)


class Forest(PredictorAgent):
    """A random forest on choices and costs, by the mean of its trees and their spread."""

    process_share = 0.0

    def _chosen(
        self, posterior: Posterior, candidates: NDArray[np.int64], num: int, acquisition: Acquisition
    ) -> list[Architecture]:
        forest = RandomForestRegressor(NUM_TREES, random_state=int(self._rng.integers(2**31)), n_jobs=1)
        forest.fit(self._described(posterior.rows), np.array([e.score for e in self._told]))
        by_tree = np.stack([tree.predict(self._described(candidates)) for tree in forest.estimators_])
        liked = by_tree.mean(axis=0) + by_tree.std(axis=0)
        if self.process_share:
            mean, variance = posterior.predict(candidates)
            by_process = rankdata(mean + EXPLORATION * np.sqrt(variance))
            liked = (1.0 - self.process_share) * rankdata(liked) + self.process_share * by_process
        return _first(self, candidates, liked, num)

    def _described(self, rows: NDArray[np.integer]) -> NDArray[np.float64]:
        choices = one_hot(rows, [len(d.choices) for d in self._space.decisions])
        assert isinstance(self._constraint, HardLimits)
        return np.concatenate([choices, self._constraint.all_costs(rows)], axis=1)


class Ensemble(Forest):
    """The ranks by a forest and by the process, added."""

    process_share = 0.5


def _first(
    agent: PredictorAgent, candidates: NDArray[np.int64], liked: NDArray[np.float64], num: int
) -> list[Architecture]:
    found = [tuple(int(c) for c in row) for row in candidates[np.argsort(-liked, kind="stable")[:num]]]
    agent._sampler.seen.update(found)
    return found


def _standardised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    spread: NDArray[np.float64] = (scores - scores.mean()) / max(float(scores.std()), 1e-12)
    return spread


def _without_paths(_self: SearchSpace, architectures: NDArray[np.integer]) -> NDArray[np.bool_]:
    return np.zeros((len(architectures), 0), dtype=np.bool_)


def _without_costs(_self: HardLimits, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.zeros((len(architectures), 0))


PREDICTOR, ACQUISITION = "hwnas.search.predictor", "hwnas.search.acquisition"
NB201 = "search_spaces.nasbench201.NasBench201"

VARIANTS: Mapping[str, tuple[type[PredictorAgent], Mapping[str, object]]] = {
    "predictor": (PredictorAgent, {}),
    "without paths": (PredictorAgent, {f"{NB201}.paths": _without_paths}),
    "without costs": (PredictorAgent, {"hwnas.constraint.HardLimits.all_costs": _without_costs}),
    "scores instead of ranks": (PredictorAgent, {f"{PREDICTOR}.normal_scores": _standardised}),
    "exploration 1": (PredictorAgent, {f"{ACQUISITION}.EXPLORATION": 1.0}),
    "exploration 2": (PredictorAgent, {f"{ACQUISITION}.EXPLORATION": 2.0}),
    "exploration 5": (PredictorAgent, {f"{ACQUISITION}.EXPLORATION": 5.0}),
    "expected improvement": (ExpectedImprovement, {}),
    "Thompson sampling": (Thompson, {}),
    "random forest": (Forest, {}),
    "process and forest": (Ensemble, {}),
}
"""The agent, and what of the library is replaced while it searches."""


def main() -> None:
    """Run every variant on every task and print the means, then those over all tasks."""
    tasks = [*search_tabular.TASKS, *search_tabular.FLEET_TASKS, *FURTHER_TASKS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=arguments.folder, required=True)
    parser.add_argument("--seeds", type=arguments.whole(2), default=20, help="2 or more, which standard errors need")
    parser.add_argument("--first-seed", type=arguments.whole(0), default=1000)
    parser.add_argument("--variants", type=arguments.names(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--tasks", type=arguments.names(tasks), default=tasks, help="names, with commas between [all]")
    parser.add_argument("--most", type=arguments.whole(min(search_tabular.BUDGETS)), default=200)
    parser.add_argument("--batch", type=arguments.whole(), default=5, help="networks asked for at a time")
    parser.add_argument("--processes", type=arguments.whole(1, 1024), default=2)
    parser.add_argument("--out", type=arguments.file_to_write)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    tasks, variants = options.tasks, options.variants
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    means: dict[str, list[NDArray[np.float64]]] = {variant: [] for variant in variants}
    rows = []
    with ProcessPoolExecutor(options.processes) as pool:
        for task in tasks:
            print(f"\n{task}: mean validation regret (standard error), in points", flush=True)
            for variant in variants:
                job = partial(regrets, options.data, task, variant, most=options.most, batch=options.batch)
                of_seeds = np.array(list(pool.map(job, seeds)))  # [seeds, budgets]
                mean, error = of_seeds.mean(axis=0), of_seeds.std(axis=0, ddof=1) / np.sqrt(len(seeds))
                means[variant].append(mean)
                cells = "   ".join(f"{m:.3f} ({e:.3f})" for m, e in zip(mean, error, strict=True))
                print(f"  {variant:24s} {cells}", flush=True)
                rows.append({"task": task, "variant": variant, "mean": mean.tolist(), "error": error.tolist()})
    print(f"\nmean over {len(tasks)} tasks, and in how many the mean is the lowest or within 0.001 of it")
    lowest = np.min([means[variant] for variant in variants], axis=0)
    for variant in variants:
        of_tasks = np.array(means[variant])
        cells = "   ".join(
            f"{m:.3f}, {n}" for m, n in zip(of_tasks.mean(axis=0), (of_tasks <= lowest + 1e-3).sum(axis=0), strict=True)
        )
        print(f"  {variant:24s} {cells}")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def regrets(data: Path, task: str, variant: str, seed: int, *, most: int, batch: int) -> list[float]:
    """Return the validation regret at each number of networks."""
    agent, replaced = VARIANTS[variant]
    with ExitStack() as stack:
        for name, value in replaced.items():
            stack.enter_context(patch(name, value))
        stack.enter_context(patch.dict(AGENTS, {variant: agent}))
        stack.enter_context(patch.dict(search_tabular.FLEET_TASKS, FURTHER_TASKS))
        return [validation for validation, _ in search_tabular.regrets((data, task, variant, seed, most, batch))]


if __name__ == "__main__":
    with arguments.errors_in_a_line():
        main()
