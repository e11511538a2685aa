"""How much of the front of accuracy and two latencies is found: NAS-Bench-201 on a Raspberry Pi 4 and a Pixel 3.

The tasks are those of `search_tabular.py` for two devices. What a front misses is told in points: pairs of budgets are
drawn between the fastest network and the limit of each device, and the best accuracy under a pair is compared with that
of the best network that was found under it. The mean is the hypervolume that is missed, as a share of all pairs of
budgets. A pair that no network keeps is left out; where none was found, one that guesses stands for it (10 %).

    python benchmarks/front_tabular.py --data DIR --seeds 10
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import arguments
import numpy as np
import search_tabular
from numpy.typing import NDArray

from hwnas.constraint import LATENCY, latency_on
from hwnas.evaluators.tabular import TabularBenchmark
from hwnas.search import AGENTS, Evaluation, HardLimits
from hwnas.search.objectives import objective_arguments

NUM_EVALUATIONS = (50, 100, 200)

NUM_PAIRS = 2000

GUESSING = 10.0
"""Percent of ten classes."""

SEARCHES = {
    "predictor, front": ("predictor", "front"),
    "predictor, score": ("predictor", "score"),
    "nsga2": ("nsga2", "front"),
    "random": ("random", "score"),
}
"""Agents and what they seek, by what they are called in the table."""


def main() -> None:
    """Run every search on every task and print what its front misses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=arguments.folder, required=True, help="has nasbench201_cifar10.npz")
    parser.add_argument("--seeds", type=arguments.whole(2), default=10, help="2 or more, which standard errors need")
    parser.add_argument("--tasks", type=arguments.names(search_tabular.FLEET_TASKS), help="names [all]")
    parser.add_argument("--batch", type=arguments.whole(), default=5, help="networks asked for at a time")
    parser.add_argument("--processes", type=arguments.whole(1, 1024), default=2)
    parser.add_argument("--out", type=arguments.file_to_write)
    options = parser.parse_args()
    rows = []
    with ProcessPoolExecutor(options.processes) as pool:
        for task in options.tasks or search_tabular.FLEET_TASKS:
            print(f"\n{task}: points missed by the front (standard error), by networks evaluated", flush=True)
            for name in SEARCHES:
                jobs = [(options.data, task, name, seed, options.batch) for seed in range(options.seeds)]
                of_seeds = np.array(list(pool.map(missed, jobs)))  # [seeds, evaluations]
                mean, error = of_seeds.mean(axis=0), of_seeds.std(axis=0, ddof=1) / np.sqrt(options.seeds)
                cells = [f"{num}: {m:.2f} ({e:.2f})" for num, m, e in zip(NUM_EVALUATIONS, mean, error, strict=True)]
                print(f"  {name:18s} {'   '.join(cells)}", flush=True)
                rows.append({"task": task, "search": name, "mean": mean.tolist(), "error": error.tolist()})
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


@cache
def _task(data: Path, name: str) -> tuple[TabularBenchmark, HardLimits, NDArray[np.float64], NDArray[np.float64]]:
    """Return the networks, their limits, pairs of budgets [num, 2] and the best accuracy under each [num]."""
    which, bounds = search_tabular.FLEET_TASKS[name]
    benchmark, distinct = search_tabular.benchmark_of(data, which), search_tabular.networks_of(data, which)
    one, other = (search_tabular.limit_on(benchmark, distinct, cost, bound) for cost, bound in bounds)
    limits = HardLimits(limits=(replace(one, name=LATENCY), replace(other, name=latency_on("pixel3"))))
    networks = distinct[limits.worst_share(distinct) <= 1.0]
    latency_ms = limits.all_costs(networks)
    pairs = np.random.default_rng(0).uniform(latency_ms.min(axis=0), latency_ms.max(axis=0), size=(NUM_PAIRS, 2))
    best = best_under(pairs, latency_ms, benchmark.validation[benchmark.index(networks)])
    return benchmark, limits, pairs[best > GUESSING], best[best > GUESSING]


def best_under(
    budgets: NDArray[np.float64], latency_ms: NDArray[np.float64], accuracy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return [num_budgets] the best accuracy in percent of networks that keep budgets on all devices.

    Args:
        budgets: [num_budgets, num_devices] milliseconds.
        latency_ms: [num_networks, num_devices].
        accuracy: [num_networks] percent.
    """
    kept = (latency_ms <= budgets[:, None]).all(axis=2)
    best: NDArray[np.float64] = np.where(kept, accuracy, GUESSING).max(axis=1)
    return best


def missed(job: tuple[Path, str, str, int, int]) -> list[float]:
    """Return what is missed after each number of networks, in points."""
    data, task, name, seed, batch = job
    benchmark, limits, pairs, best = _task(data, task)
    agent_name, objective = SEARCHES[name]
    made = AGENTS[agent_name]
    agent = made(
        benchmark.space,
        limits,
        np.random.default_rng(seed),
        **objective_arguments(agent_name, made, objective),
    )
    found: list[Evaluation] = []
    while len(found) < max(NUM_EVALUATIONS) and (asked := agent.ask(batch)):
        told = [Evaluation(architecture=a, score=benchmark.score(a), costs=limits.costs(a)) for a in asked]
        agent.tell(told)
        found += told
    rows = np.array([e.architecture for e in found])
    latency_ms, accuracy = limits.all_costs(rows), benchmark.validation[benchmark.index(rows)]
    return [float((best - best_under(pairs, latency_ms[:n], accuracy[:n])).mean()) for n in NUM_EVALUATIONS]


if __name__ == "__main__":
    with arguments.errors_in_a_line():
        main()
