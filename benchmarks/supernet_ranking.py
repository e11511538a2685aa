"""How well a supernet ranks networks: Kendall tau against NAS-Bench-Macro's accuracies, by training strategy.

Trains nasbench-macro's supernet on CIFAR-10 with each strategy, for an equal number of images that pass through it (a
step of strict fairness passes three times, one of the sandwich rule four times), and scores random distinct networks
after BatchNorm recalibration. Continues where it was stopped.

    python benchmarks/supernet_ranking.py --data DIR --passes 10 --input-size 16 --out /tmp/ranking
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau, rankdata

from hwnas.agents import ClassificationAgent
from hwnas.config import TrainingConfig
from hwnas.criteria import SmoothedCrossEntropy
from hwnas.dataflow import Batches, load_dataset
from hwnas.search import HardLimits
from hwnas.supernet.evaluation import SupernetEvaluator, calibration_batches
from hwnas.training import STRATEGIES, Trainer
from hwnas.training.randomness import numpy_rng, seed_torch, torch_rng
from profilers.durable import JsonLines
from search_spaces import SpaceSpec, make_space
from search_spaces.cost import GraphCosts

PASSES_PER_STEP = {"uniform": 1, "fairness": 3, "sandwich": 4}


def main() -> None:
    """Train, score, print taus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="has cifar-10-binary.tar.* and nas-bench-macro_*.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strategies", default="uniform,fairness,sandwich")
    parser.add_argument("--passes", type=float, default=10.0, help="times that all training images pass through")
    parser.add_argument("--input-size", type=int, default=16)
    parser.add_argument("--networks", type=int, default=150)
    parser.add_argument("--validation-images", type=int, default=1500)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--ema-decay", type=float)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    space = make_space(SpaceSpec(name="nasbench-macro", input_size=options.input_size, num_classes=10))
    published = json.loads((options.data / "nas-bench-macro_cifar10.json").read_text(encoding="utf-8"))
    rng = numpy_rng(options.seed, "networks")
    distinct: dict[tuple[int, ...], None] = {}
    while len(distinct) < options.networks:
        distinct.setdefault(space.canonical(space.sample(rng)))
    accuracies = np.array([published["".join(map(str, a))]["mean_acc"] for a in distinct])
    macs = GraphCosts(space).macs(np.array(list(distinct)))
    print(f"{len(distinct)} networks; tau of their multiply-accumulates {kendalltau(macs, accuracies).statistic:.3f}")

    dataset = load_dataset("cifar10", options.data, input_size=options.input_size)
    train, validation = dataset.train.divided(0.9, numpy_rng(options.seed, "train_portion"))
    validation = validation.limited(options.validation_images, numpy_rng(options.seed, "validation"))
    for name in options.strategies.split(","):
        epochs = max(1, round(options.passes / PASSES_PER_STEP[name]))
        config = TrainingConfig(
            epochs=epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            label_smoothing=options.label_smoothing,
            ema_decay=options.ema_decay,
            warmup_epochs=0.5,
        )
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[]):
            seed_torch(options.seed, "supernet")
            supernet = space.supernet()
        strategy = STRATEGIES[name](space, HardLimits(limits=()))
        criterion = SmoothedCrossEntropy(label_smoothing=options.label_smoothing)
        batches = Batches.of(dataset, train, options.batch_size)
        started = time.monotonic()
        Trainer(
            module=supernet,
            config=config,
            batches=batches,
            accumulate=lambda batch, rng, moment, s=strategy, n=supernet, c=criterion: s.accumulate(
                n, batch, c, rng, moment
            ),
            checkpoint=folder / "checkpoint.safetensors",
            name=name,
            seed=options.seed,
        ).fit()
        trained_s, started = time.monotonic() - started, time.monotonic()
        evaluator = SupernetEvaluator(
            supernet,
            ClassificationAgent(),
            calibration=calibration_batches(batches, 4, torch_rng(options.seed, "recalibration")),
            validation=list(Batches.of(dataset, validation, 250).in_order()),
        )
        with JsonLines(folder / "scores.jsonl") as lines:
            scores = [float(record["score"]) for record in lines.records]
            for architecture in list(distinct)[len(scores) :]:
                scores.append(evaluator.score(architecture))
                lines.append({"architecture": list(architecture), "score": scores[-1]})
        together = rankdata(scores) + rankdata(macs)
        print(
            f"{name}: {epochs} epochs, {trained_s:.0f} s; {time.monotonic() - started:.0f} s to score; "
            f"accuracy {np.mean(scores):.3f} on average, tau {kendalltau(scores, accuracies).statistic:.3f}, "
            f"with the ranks of multiply-accumulates added {kendalltau(together, accuracies).statistic:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
