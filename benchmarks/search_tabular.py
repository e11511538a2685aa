"""Search agents against each other, and against other libraries', on published accuracies of every network.

Mean regret in points of accuracy (the best feasible network's less that of the best found), validation and test, by
number of distinct networks evaluated, with its standard error over seeds.

    python benchmarks/search_tabular.py --data DIR --seeds 20 --agents predictor,evolution,random
    python benchmarks/search_tabular.py --data DIR --fleet --agents predictor,random
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import arguments
import numpy as np
from numpy.typing import NDArray

from hwnas.evaluators.tabular import TabularBenchmark, load_tabular
from hwnas.search import AGENTS, Evaluation, HardLimits, Limit
from search_spaces import Architecture

BUDGETS = (50, 100, 200, 500)
FILES = {"macro": "nas-bench-macro_cifar10.json", "nb201": "nasbench201_cifar10.npz"}

TASKS = {
    "macro macs q25": ("macro", "macs", 0.25),
    "macro macs q50": ("macro", "macs", 0.50),
    "macro macs q75": ("macro", "macs", 0.75),
    "macro": ("macro", "macs", 1.0),
    "nb201 pi4 5ms": ("nb201", "lat_raspi4", "5"),
    "nb201 pi4 10ms": ("nb201", "lat_raspi4", "10"),
    "nb201 pi4 20ms": ("nb201", "lat_raspi4", "20"),
}
"""Benchmark, cost, and its limit: a number, or a quantile over the distinct networks."""

FLEET_TASKS: dict[str, tuple[str, tuple[tuple[str, float], ...]]] = {
    f"nb201 pi4 q{pi4} pixel3 q{pixel3}": ("nb201", (("lat_raspi4", pi4 / 100), ("lat_pixel3", pixel3 / 100)))
    for pi4, pixel3 in ((25, 25), (50, 50), (75, 75), (25, 75), (75, 25))
}
"""Benchmark, and costs with their limits, all of which must be kept: quantiles over the distinct networks."""


@dataclass(frozen=True)
class Task:
    """A benchmark under a limit."""

    benchmark: TabularBenchmark
    constraint: HardLimits
    best_validation: float
    best_test: float


def main() -> None:
    """Run every agent on every task, print the table, and keep the figures."""
    agents = [*AGENTS, *OTHERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=arguments.folder, required=True)
    parser.add_argument("--seeds", type=arguments.whole(2), default=20, help="2 or more, which standard errors need")
    parser.add_argument("--agents", type=arguments.names(agents), default=agents)
    parser.add_argument(
        "--tasks", type=arguments.names([*TASKS, *FLEET_TASKS]), help="names, with commas between [all for one device]"
    )
    parser.add_argument("--fleet", action="store_true", help="all tasks for two devices, instead of those for one")
    parser.add_argument("--most", type=arguments.whole(min(BUDGETS)), default=500)
    parser.add_argument("--batch", type=arguments.whole(), default=5, help="networks asked for at a time")
    parser.add_argument("--processes", type=arguments.whole(1, 1024), default=2)
    parser.add_argument("--out", type=arguments.file_to_write)
    options = parser.parse_args()
    if options.fleet and options.tasks:
        parser.error("--fleet is all tasks for two devices: expected no --tasks beside it; leave one of the two out")
    rows = []
    with ProcessPoolExecutor(options.processes) as pool:
        for name in options.tasks or (FLEET_TASKS if options.fleet else TASKS):
            print(f"\n{name}: mean validation regret (standard error) / test regret, in points", flush=True)
            for agent in options.agents:
                started = time.monotonic()
                jobs = [(options.data, name, agent, seed, options.most, options.batch) for seed in range(options.seeds)]
                of_seeds = np.array(list(pool.map(regrets, jobs)))  # [seeds, budgets, 2]
                mean, error = of_seeds.mean(axis=0), of_seeds.std(axis=0, ddof=1) / np.sqrt(options.seeds)
                cells = [
                    f"{b}: {m[0]:.3f} ({e[0]:.3f}) / {m[1]:.3f}"
                    for b, m, e in zip(_budgets(options.most), mean, error, strict=True)
                ]
                seconds = (time.monotonic() - started) * options.processes / options.seeds
                print(f"  {agent:15s} {'   '.join(cells)}   {seconds:.1f} s a search", flush=True)
                rows.append({"task": name, "agent": agent, "mean": mean.tolist(), "error": error.tolist()})
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _budgets(most: int) -> list[int]:
    return [b for b in BUDGETS if b <= most]


@cache
def benchmark_of(data: Path, name: str) -> TabularBenchmark:
    """Return a benchmark by the name that tasks have for it."""
    return load_tabular(data / FILES[name])


@cache
def networks_of(data: Path, name: str) -> NDArray[np.int64]:
    """Return [num, num_decisions] every network of a benchmark once."""
    space = benchmark_of(data, name).space
    sizes = [len(d.choices) for d in space.decisions]
    every = np.indices(sizes).reshape(len(sizes), -1).T
    return np.array(list(dict.fromkeys(space.canonical(tuple(a)) for a in every.tolist())))


@cache
def _task(data: Path, name: str) -> Task:
    which, bounds = FLEET_TASKS[name] if name in FLEET_TASKS else (TASKS[name][0], (TASKS[name][1:],))
    benchmark, distinct = benchmark_of(data, which), networks_of(data, which)
    limits = tuple(limit_on(benchmark, distinct, cost, bound) for cost, bound in bounds)
    rows = benchmark.index(distinct[HardLimits(limits=limits).worst_share(distinct) <= 1.0])
    return Task(
        benchmark=benchmark,
        constraint=HardLimits(limits=limits),
        best_validation=float(benchmark.validation[rows].max()),
        best_test=float(benchmark.test[rows].max()),
    )


def limit_on(benchmark: TabularBenchmark, distinct: NDArray[np.int64], cost: str, bound: float | str) -> Limit:
    """Return a limit on a cost: a number where it is a text, else a quantile over the distinct networks."""
    costs = benchmark.cost(cost, distinct)
    maximum = float(bound) if isinstance(bound, str) else float(np.quantile(costs, bound))
    return Limit(name=cost, cost=lambda a: benchmark.cost(cost, a), maximum=maximum)


def regrets(job: tuple[Path, str, str, int, int, int]) -> list[tuple[float, float]]:
    """Validation and test regret at each budget; the network is the best by validation."""
    data, name, agent, seed, most, batch = job
    task = _task(data, name)
    propose = OTHERS[agent] if agent in OTHERS else _ours(agent, batch)
    seen: dict[Architecture, float] = {}
    found, validation, test = [], 0.0, 0.0
    for architecture, _ in propose(task, seed):
        if architecture not in seen:
            row = task.benchmark.index(np.array([architecture]))[0]
            seen[architecture] = float(task.benchmark.validation[row])
            if seen[architecture] > validation:
                validation, test = seen[architecture], float(task.benchmark.test[row])
            if len(seen) in BUDGETS:
                found.append((task.best_validation - validation, task.best_test - test))
        if len(seen) >= most:
            break
    last = (task.best_validation - validation, task.best_test - test)  # there are no more networks
    return found + [last] * (len(_budgets(most)) - len(found))


Proposals = Iterator[tuple[Architecture, None]]


def _ours(name: str, batch: int) -> Callable[[Task, int], Proposals]:
    def propose(task: Task, seed: int) -> Proposals:
        agent = AGENTS[name](task.benchmark.space, task.constraint, np.random.default_rng(seed))
        while asked := agent.ask(batch):
            evaluations = [Evaluation(architecture=a, score=task.benchmark.score(a), costs={}) for a in asked]
            for architecture in asked:
                yield architecture, None
            agent.tell(evaluations)

    return propose


def _pymoo(name: str) -> Callable[[Task, int], Proposals]:
    """pymoo's genetic algorithms on integers, the limit as a constraint; infeasible networks cost no evaluation."""

    def propose(task: Task, seed: int) -> Proposals:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.algorithms.soo.nonconvex.ga import GA
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
        from pymoo.operators.sampling.rnd import IntegerRandomSampling

        sizes = np.array([len(d.choices) for d in task.benchmark.space.decisions])
        num_objectives = 1 if name == "ga" else 2
        problem = Problem(n_var=len(sizes), n_obj=num_objectives, n_ieq_constr=1, xl=0 * sizes, xu=sizes - 1, vtype=int)
        operators = {
            "pop_size": 20,
            "sampling": IntegerRandomSampling(),
            "crossover": SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
            "mutation": PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
            "eliminate_duplicates": True,
        }
        algorithm = GA(**operators) if name == "ga" else NSGA2(**operators)
        algorithm.setup(problem, seed=seed, termination=("n_gen", 400), verbose=False)
        while algorithm.has_next():
            infills = algorithm.ask()
            rows = infills.get("X").astype(int)
            forms = [task.benchmark.space.canonical(tuple(row)) for row in rows.tolist()]
            shares = task.constraint.worst_share(np.array(forms))
            scores = np.array([task.benchmark.score(form) for form in forms])
            yield from ((form, None) for form, share in zip(forms, shares, strict=True) if share <= 1.0)
            objectives = [-scores] if num_objectives == 1 else [-scores, shares]
            infills.set("F", np.stack(objectives, axis=1))
            infills.set("G", (shares - 1.0)[:, None])
            algorithm.tell(infills=infills)

    return propose


def _optuna(name: str) -> Callable[[Task, int], Proposals]:
    """Optuna's samplers, the limit as a constraint; infeasible networks cost no evaluation."""

    def propose(task: Task, seed: int) -> Proposals:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", FutureWarning)
        shares: dict[int, float] = {}
        made = {"tpe": optuna.samplers.TPESampler, "nsga2": optuna.samplers.NSGAIISampler}[name]
        sampler = made(seed=seed, constraints_func=lambda trial: (shares.get(trial.number, 0.0) - 1.0,))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        decisions = task.benchmark.space.decisions
        for _ in range(3000):
            trial = study.ask()
            drawn = tuple(int(trial.suggest_categorical(d.name, list(range(len(d.choices))))) for d in decisions)
            form = task.benchmark.space.canonical(drawn)
            shares[trial.number] = float(task.constraint.worst_share(np.array([form]))[0])
            if shares[trial.number] <= 1.0:
                yield form, None
            study.tell(trial, task.benchmark.score(form))

    return propose


OTHERS: dict[str, Callable[[Task, int], Proposals]] = {
    "pymoo-ga": _pymoo("ga"),
    "pymoo-nsga2": _pymoo("nsga2"),
    "optuna-tpe": _optuna("tpe"),
    "optuna-nsga2": _optuna("nsga2"),
}
"""Samplers of other libraries; they need pymoo and optuna installed."""

if __name__ == "__main__":
    with arguments.errors_in_a_line():
        main()
