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
from hwnas.evaluators.supernet import SupernetEvaluator, calibration_batches
from hwnas.search import HardLimits
from hwnas.training import STRATEGIES, Trainer
from hwnas.training.randomness import numpy_rng, seed_torch, torch_rng
from hwnas.training.strategy import steps_of
from safe_files.writing import JsonLines
from search_spaces import Architecture, SearchSpace, SpaceSpec, make_space
from search_spaces.cost import GraphCosts
from search_spaces.supernet import Supernet

PASSES_PER_STEP = {"uniform": 1, "fairness": 3, "sandwich": 4}

CALIBRATION_BATCH, NUM_CALIBRATION = 128, 8


def main() -> None:
    """Train, score, print taus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="has cifar-10-binary.tar.* and nas-bench-macro_*.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strategies", default="uniform,fairness,sandwich")
    parser.add_argument("--passes", type=float, default=20.0, help="times that all training images pass through")
    parser.add_argument("--input-size", type=int, default=16)
    parser.add_argument("--networks", type=int, default=150)
    parser.add_argument("--validation-images", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=64)
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
    distinct: dict[Architecture, None] = {}
    while len(distinct) < options.networks:
        distinct.setdefault(space.canonical(space.sample(rng)))
    accuracies = np.array([published["".join(map(str, a))]["mean_acc"] for a in distinct])
    macs = GraphCosts(space).macs(np.array(list(distinct)))
    print(f"{len(distinct)} networks; tau of their multiply-accumulates {kendalltau(macs, accuracies).statistic:.3f}")

    dataset = load_dataset("cifar10", options.data, input_size=options.input_size)
    train, validation = dataset.train.divided(0.9, numpy_rng(options.seed, "train_portion"))
    validation = validation.limited(options.validation_images, numpy_rng(options.seed, "validation"))
    held_out = list(Batches.of(dataset, validation, 250).in_order())
    for name in options.strategies.split(","):
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        batches = Batches.of(dataset, train, options.batch_size)
        started = time.monotonic()
        supernet = _trained(space, name, batches, options, folder / "checkpoint.safetensors")
        trained_s, started = time.monotonic() - started, time.monotonic()
        calibration = calibration_batches(
            Batches.of(dataset, train, CALIBRATION_BATCH), NUM_CALIBRATION, torch_rng(options.seed, "recalibration")
        )
        evaluator = SupernetEvaluator(supernet, ClassificationAgent(), calibration=calibration, validation=held_out)
        with JsonLines(folder / "scores.jsonl") as lines:
            rows = [record["metrics"] for record in lines.records]
            for architecture in list(distinct)[len(rows) :]:
                rows.append(evaluator.metrics(architecture))
                lines.append({"architecture": list(architecture), "metrics": rows[-1]})
        print(f"{name}: {trained_s:.0f} s to train, {time.monotonic() - started:.0f} s to score", flush=True)
        for metric in ("accuracy", "likelihood"):
            scores = np.array([row[metric] for row in rows])
            together = rankdata(scores) + rankdata(macs)
            print(
                f"  {metric}: {scores.mean():.3f} on average, tau {kendalltau(scores, accuracies).statistic:.3f}, with "
                f"the ranks of multiply-accumulates added {kendalltau(together, accuracies).statistic:.3f}",
                flush=True,
            )


def _trained(space: SearchSpace, name: str, batches: Batches, options: argparse.Namespace, path: Path) -> Supernet:
    config = TrainingConfig(
        epochs=max(1, round(options.passes / PASSES_PER_STEP[name])),
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        ema_decay=options.ema_decay,
        warmup_epochs=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        seed_torch(options.seed, "supernet")
        supernet = space.supernet()
    strategy = STRATEGIES[name](space, HardLimits(limits=()))
    criterion = SmoothedCrossEntropy(label_smoothing=options.label_smoothing)
    Trainer(
        module=supernet,
        config=config,
        batches=batches,
        accumulate=steps_of(strategy, supernet, criterion),
        checkpoint=path,
        name=name,
        seed=options.seed,
    ).fit()
    return supernet


if __name__ == "__main__":
    main()
