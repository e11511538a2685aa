"""Differentiable search under a budget: does the found network keep it by the table, and what was the expectation?

python benchmarks/differentiable_budget.py --lut fbnet-s.lut.json --share 0.4 --seeds 10
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from hwnas.config import TrainingConfig
from hwnas.criteria import SmoothedCrossEntropy
from hwnas.dataflow import Batches, load_dataset
from hwnas.progress import Reporter
from hwnas.search import DifferentiableAgent, HardLimits, Limit
from hwnas.surrogate import AdditiveCosts
from hwnas.training import STRATEGIES, Trainer
from hwnas.training.strategy import steps_of
from lut import LatencyModel, load_table
from search_spaces import make_space


def main() -> None:
    """Train and search with every seed, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lut", type=Path, required=True)
    parser.add_argument("--strategies", default="binarised,gumbel,softmax")
    parser.add_argument("--share", type=float, default=0.4, help="the budget, from the fastest (0) to the slowest (1)")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--train-images", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("/tmp/differentiable"))
    options = parser.parse_args()
    table = load_table(options.lut)
    space = make_space(table.space)
    model = LatencyModel(space, table)
    fastest, slowest = model.extreme()[1], model.extreme(slowest=True)[1]
    budget = fastest + options.share * (slowest - fastest)
    limits = HardLimits(limits=(Limit(name="latency_ms", cost=model.predict_ms, maximum=budget),))
    dataset = load_dataset("digits", Path(), input_size=table.space.input_size)
    print(f"{space.spec}: {fastest:.4g} to {slowest:.4g} ms, budget {budget:.4g} ms")
    for name in options.strategies.split(","):
        kept = 0
        for seed in range(options.seeds):
            started = time.monotonic()
            torch.manual_seed(seed)
            supernet = space.supernet()
            strategy = STRATEGIES[name](space, limits)
            strategy.prepare(supernet)
            config = TrainingConfig(epochs=options.epochs, batch_size=64)
            train = dataset.train.limited(options.train_images, np.random.default_rng(seed))
            records = Trainer(
                module=supernet,
                config=config,
                batches=Batches.of(dataset, train, config.batch_size),
                accumulate=steps_of(strategy, supernet, SmoothedCrossEntropy()),
                checkpoint=options.out / f"{name}-{seed}.safetensors",
                name=name,
                seed=seed,
                reporter=Reporter(is_quiet=True),
            ).fit()
            probabilities = [torch.softmax(logits.detach(), dim=0) for logits in supernet.choice_logits()]
            expected = AdditiveCosts(space, limits).expected_shares(probabilities).item() * budget
            (found,) = DifferentiableAgent(space, limits, np.random.default_rng(seed), supernet=supernet).ask(1)
            found_ms = model.predict_one_ms(found)
            kept += found_ms <= budget
            print(
                f"  {name} seed {seed}: expected {expected:.4g} ms, found {found_ms:.4g} ms, loss "
                f"{records[0].loss:.3f} to {records[-1].loss:.3f}, {time.monotonic() - started:.0f} s",
                flush=True,
            )
        print(f"{name}: {kept} of {options.seeds} keep the budget", flush=True)


if __name__ == "__main__":
    main()
