"""The predictor against evolution and random where the space is too large to list: fbnet-s with a real table.

The objective is made up: what each choice adds, and what neighbouring layers' choices add together.

    python benchmarks/search_large.py --lut fbnet-s.lut.json --share 0.4 --seeds 5
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from hwnas.search import AGENTS, Evaluation, HardLimits, Limit
from lut import LatencyModel, load_table
from search_spaces import make_space

BUDGETS = (50, 100, 200, 500)


def main() -> None:
    """Print the mean of the best objective by number of evaluations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lut", type=Path, required=True)
    parser.add_argument("--agents", default="predictor,evolution,local-search,nsga2,reinforce,random")
    parser.add_argument("--share", type=float, default=0.4, help="the budget, from the fastest (0) to the slowest (1)")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    table = load_table(options.lut)
    space = make_space(table.space)
    model = LatencyModel(space, table)
    fastest, slowest = model.extreme()[1], model.extreme(slowest=True)[1]
    limit = Limit(name="latency_ms", cost=model.predict_ms, maximum=fastest + options.share * (slowest - fastest))
    rng = np.random.default_rng(0)
    single = [rng.standard_normal(len(d.choices)) for d in space.decisions]
    pairs = [0.7 * rng.standard_normal((len(a), len(b))) for a, b in pairwise(single)]

    def score(architecture: tuple[int, ...]) -> float:
        alone = sum(values[c] for values, c in zip(single, architecture, strict=True))
        return float(alone + sum(p[a, b] for p, (a, b) in zip(pairs, pairwise(architecture), strict=True)))

    print(
        f"{space.spec}, at most {limit.maximum:.4g} ms; mean best objective (standard error) over {options.seeds} seeds"
    )
    for name in options.agents.split(","):
        started, rows = time.monotonic(), []
        for seed in range(options.seeds):
            agent = AGENTS[name](space, HardLimits(limits=(limit,)), np.random.default_rng(seed))
            scores: list[float] = []
            while len(scores) < BUDGETS[-1]:
                asked = agent.ask(10)
                told = [Evaluation(architecture=a, score=score(a), costs={"ms": 0.0}) for a in asked]
                agent.tell(told)
                scores += [e.score for e in told]
            rows.append([max(scores[:b]) for b in BUDGETS])
        mean, error = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / np.sqrt(options.seeds)
        cells = ", ".join(f"{b}: {m:.2f} ({e:.2f})" for b, m, e in zip(BUDGETS, mean, error, strict=True))
        print(f"  {name:13s} {cells}; {(time.monotonic() - started) / options.seeds:.1f} s a search", flush=True)


if __name__ == "__main__":
    main()
