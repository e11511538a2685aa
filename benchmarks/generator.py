"""How good the architectures are that the generator emits for budgets it never searched under.

Trains it once on a run's supernet and table, and compares what it emits for ten budgets with random architectures that
keep the same budget, all scored by the supernet.

    python benchmarks/generator.py --run RUN --evaluations 100
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from hwnas.evaluators import make_evaluator
from hwnas.pipeline.latency import prepare_latency
from hwnas.pipeline.networks import hard_limits_of, supernet_of
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.search import Evaluation, GeneratorAgent, RandomAgent
from hwnas.training.randomness import numpy_rng


def main() -> None:
    """Train, emit, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run whose supernet is trained")
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--budgets", type=int, default=10)
    parser.add_argument("--random", type=int, default=30, help="architectures per budget to compare with")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    run = Run.from_folder(options.run, Reporter(is_quiet=True))
    latency = prepare_latency(run)
    limits = hard_limits_of(run, latency)
    inputs = run.evaluator_inputs(supernet_of(run, limits).module)
    evaluator = make_evaluator(run.config.search.evaluator, inputs)
    scores: dict[tuple[int, ...], float] = {}

    def score(architecture: tuple[int, ...]) -> float:
        form = run.space.canonical(architecture)
        if form not in scores:
            scores[form] = evaluator.score(form)
        return scores[form]

    agent = GeneratorAgent(run.space, limits, numpy_rng(options.seed, "generator"))
    started = time.monotonic()
    for _ in range(options.evaluations // 10):
        asked = agent.ask(10)
        agent.tell([Evaluation(architecture=a, score=score(a), costs={}) for a in asked])
    print(f"{len(scores)} evaluations and training: {time.monotonic() - started:.0f} s")
    cheapest = latency.model.extreme()[1]
    kept = better = 0
    for share in np.linspace(0.05, 1.0, options.budgets):
        budget_ms = cheapest + share * (latency.max_ms - cheapest)
        tighter = limits.with_maximum("latency_ms", budget_ms * latency.margin)
        started = time.monotonic()
        emitted = agent.emit(tighter)
        emitted_s = time.monotonic() - started
        random = RandomAgent(run.space, tighter, numpy_rng(options.seed, f"random-{share}")).ask(options.random)
        of_random = np.array([score(a) for a in random])
        is_kept, is_better = tighter.is_met(emitted), score(emitted) > float(np.median(of_random))
        kept, better = kept + is_kept, better + is_better
        print(
            f"budget {budget_ms:.4f} ms: emitted {latency.model.predict_one_ms(emitted):.4f} ms, score "
            f"{score(emitted):.4f} in {emitted_s:.2f} s; {len(random)} random: median {np.median(of_random):.4f}, best "
            f"{of_random.max():.4f}",
            flush=True,
        )
    print(f"{kept} of {options.budgets} keep the budget, {better} beat the median random architecture")


if __name__ == "__main__":
    main()
