"""What a whole search finds: the benchmark accuracy of its winner, against the best network that keeps the limit.

CIFAR-10 and NAS-Bench-Macro's space under quantiles of its multiply-accumulates. One supernet a seed is trained, since
its training knows no limit, and is searched under each of them; the best networks are trained alone for a little while
before one is named (successive halving). Random search has the same minutes, and spends them on short trainings of
networks that keep the limit. Regret is in points of the benchmark's accuracy. Minutes are the processor's, of all
threads together, so that other work on the machine counts little; the supernet's are part of every search's. Every
network is kept as soon as it is scored: the same command goes on. A folder holds scores by one choice of settings;
`rows.json` has the last result of every seed and quantile.

    python benchmarks/end_to_end.py --data DIR --out /tmp/end --seeds 3
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import arguments
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from hwnas.agents import ClassificationAgent
from hwnas.config import RetrainConfig, TrainingConfig
from hwnas.criteria import SmoothedCrossEntropy
from hwnas.dataflow import Batches, Dataset, load_dataset
from hwnas.dataflow.splits import Splits
from hwnas.errors import RequestError
from hwnas.evaluators.inputs import EvaluatorInputs
from hwnas.evaluators.short_training import ShortTraining
from hwnas.evaluators.supernet import SupernetEvaluator, calibration_batches
from hwnas.evaluators.tabular import TabularBenchmark, load_tabular
from hwnas.search import AGENTS, Evaluation, HardLimits, Limit
from hwnas.stages.halving import halved
from hwnas.training import STRATEGIES, Trainer
from hwnas.training.randomness import numpy_rng, seed_torch, torch_rng
from hwnas.training.strategy import steps_of
from hwnas.training.task import LearningTask
from safe_files import read_json, write_text
from safe_files.writing import JsonLines
from search_spaces import Architecture, SearchSpace, SpaceSpec, make_space
from search_spaces.cost import GraphCosts
from search_spaces.supernet import Supernet

CALIBRATION_BATCH, NUM_CALIBRATION = 128, 8

GOOD = 0.15
"""Points of regret that a search is to come to."""

GENERATION = 5
"""Networks that the agent is asked for at a time."""

SETTINGS = ("input_size", "supernet_epochs", "ema_decay", "train_images", "validation_images")
"""What all scores of a folder depend on; epochs of short trainings are kept with each."""


def main() -> None:
    """Search with every seed under every limit, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=arguments.folder, required=True, help="has cifar-10-binary.tar.* and nas-bench-macro_*.json"
    )
    parser.add_argument("--out", type=arguments.folder_to_write, required=True)
    parser.add_argument("--seeds", type=arguments.whole(), default=3)
    parser.add_argument("--first-seed", type=arguments.whole(0), default=0)
    parser.add_argument("--quantiles", type=_quantiles, default=[0.25, 0.5, 0.75])
    parser.add_argument("--input-size", type=arguments.whole(4, 4096), default=16)
    parser.add_argument("--supernet-epochs", type=arguments.whole(), default=20)
    parser.add_argument("--ema-decay", type=arguments.number(0, 0.999999), help="of the supernet's weights")
    parser.add_argument("--evaluations", type=arguments.whole(), default=100)
    parser.add_argument("--validation-images", type=arguments.whole(), default=5000)
    parser.add_argument("--finalists", type=arguments.whole(), default=8, help="networks that are trained alone")
    parser.add_argument("--epochs", type=arguments.whole(), default=1, help="of the first trainings of finalists")
    parser.add_argument("--most-epochs", type=arguments.whole(), default=4, help="of the last trainings of finalists")
    parser.add_argument("--random-epochs", type=arguments.whole(), default=2, help="of every training of random search")
    parser.add_argument("--without-random", action="store_true", help="leave random search out")
    parser.add_argument("--train-images", type=arguments.whole(), help="to try this script")
    parser.add_argument("--threads", type=arguments.whole(1, 1024), default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = {name: getattr(options, name) for name in SETTINGS}
    require_same_settings(options.out / "settings.json", settings)
    read_rows(options.out / "rows.json")  # what is no such file is told of before the work
    rows: list[dict[str, Any]] = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        runs = Runs(options, seed)
        write_text(options.out / "settings.json", json.dumps(settings) + "\n")
        for quantile in options.quantiles:
            found = runs.searched(quantile)
            if not options.without_random:
                found["random"] = runs.random_search(quantile, 60 * float(found["minutes"]))
            rows.append({"seed": seed, "quantile": quantile, **found})
            keep_row(options.out / "rows.json", rows[-1])
            print(_line(rows[-1]), flush=True)
    for name in (*STEPS, *(() if options.without_random else ("random",))):
        regrets = np.array([row[name]["regret"] for row in rows])
        print(f"{name}: mean regret {regrets.mean():.2f} points, at most {regrets.max():.2f}")


def require_same_settings(path: Path, settings: dict[str, Any]) -> None:
    """Make sure that the scores beside a file were made with these settings; where there is no file, none are compared.

    Raises:
        RequestError: they were made with others.
        FileError: the file cannot be read.
    """
    if not path.exists():
        return
    known = read_json(path)
    if not isinstance(known, dict) or known.keys() != settings.keys():
        raise RequestError(f"{path}: expected {', '.join(settings)}, found something else: give another --out")
    for name, value in settings.items():
        if known[name] != value:
            flag = f"--{name.replace('_', '-')}"
            expected, found = (f"no {flag}" if given is None else f"{flag} {given}" for given in (known[name], value))
            raise RequestError(
                f"expected {expected}, as the scores in {path.parent} were made, found {found}: give the same, or "
                "another --out"
            )


def read_rows(path: Path) -> dict[tuple[int, float], dict[str, Any]]:
    """Return the rows of a file by seed and quantile; none where there is no file.

    Raises:
        RequestError: it holds something else.
        FileError: it cannot be read.
    """
    try:
        return {(row["seed"], row["quantile"]): row for row in read_json(path)} if path.exists() else {}
    except (TypeError, KeyError) as error:
        raise RequestError(
            f"{path}: expected rows with seed and quantile, found something else: move it away"
        ) from error


def keep_row(path: Path, row: dict[str, Any]) -> None:
    """Write a row into a file, instead of the one of its seed and quantile where there is one."""
    rows = read_rows(path) | {(row["seed"], row["quantile"]): row}
    write_text(path, json.dumps([rows[place] for place in sorted(rows)], indent=1))


def _quantiles(text: str) -> list[float]:
    """Return the quantiles in a text with commas between."""
    return [arguments.number(0, 1)(part) for part in text.split(",")]


STEPS = ("likelihood", "likelihood and size", "short trainings")
"""What names the winner: the supernet, the ranks by it and by multiply-accumulates, trainings of the best by those."""


def _line(row: dict[str, Any]) -> str:
    named = [*STEPS, *(["random"] if "random" in row else [])]
    cells = [f"{name} {row[name]['regret']:.2f} ({row[name]['minutes']:.0f} CPU min)" for name in named]
    return (
        f"seed {row['seed']}, {row['quantile']:.0%} of the sizes: regret by {', '.join(cells)}; of the finalists "
        f"{row['best finalist']:.2f} at least; of all {row['networks']} networks {row['median']:.2f} in the median, "
        f"and {row['good']} have {GOOD} at most"
    )


@dataclass(frozen=True, kw_only=True)
class Under:
    """A limit of multiply-accumulates, and what can be had under it.

    Attributes:
        best: the highest accuracy of the benchmark, in percent.
        networks: all that keep it, in a random order that is the same under every limit: what random search trains
            under a low one is among the first that it trains under a high one.
    """

    constraint: HardLimits
    best: float
    networks: NDArray[np.int64]


class Runs:
    """The searches of one seed, each network scored once."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        self.options, self.seed = options, seed
        self.benchmark: TabularBenchmark = load_tabular(options.data / "nas-bench-macro_cifar10.json")
        self.folder: Path = options.out / f"seed-{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.space: SearchSpace = make_space(
            SpaceSpec(name="nasbench-macro", input_size=options.input_size, num_classes=10)
        )

    def searched(self, quantile: float) -> dict[str, Any]:
        """Return regret and CPU minutes after each step of a search under a limit."""
        under = self.under(quantile)
        agent = AGENTS["predictor"](self.space, under.constraint, numpy_rng(self.seed, "search"))
        evaluations: list[Evaluation] = []
        seconds = self.supernet_s
        while (left := self.options.evaluations - len(evaluations)) and (asked := agent.ask(min(GENERATION, left))):
            told = []
            for architecture in asked:
                score, took_s = self.likelihood(architecture)
                seconds += took_s
                told.append(Evaluation(architecture=architecture, score=score, costs={}))
            agent.tell(told)
            evaluations += told
        scores = np.array([e.score for e in evaluations])
        architectures = [e.architecture for e in evaluations]
        together = rankdata(scores) + rankdata(GraphCosts(self.space).macs(np.array(architectures)))
        best_first = [architectures[i] for i in np.argsort(-together, kind="stable")]
        found: dict[str, Any] = {
            "likelihood": self.result(architectures[int(scores.argmax())], under, seconds),
            "likelihood and size": self.result(best_first[0], under, seconds),
            "tau": float(kendalltau(scores, [self.accuracy(a) for a in architectures]).statistic),
        }

        def short_scores(networks: Sequence[Architecture], epochs: int) -> list[float]:
            nonlocal seconds
            trained = [self.short_training(a, epochs) for a in networks]
            seconds += sum(took_s for _, took_s in trained)
            return [score for score, _ in trained]

        finalists = best_first[: self.options.finalists]
        winner = halved(finalists, short_scores, epochs=self.options.epochs, most_epochs=self.options.most_epochs)[0]
        found["short trainings"] = self.result(winner, under, seconds)
        found["best finalist"] = min(self.result(a, under, seconds)["regret"] for a in finalists)
        regrets = np.array([self.result(tuple(a), under, 0.0)["regret"] for a in under.networks.tolist()])
        about = {"networks": len(regrets), "median": float(np.median(regrets)), "good": int((regrets <= GOOD).sum())}
        return {**found, **about, "minutes": seconds / 60}

    def random_search(self, quantile: float, most_cpu_s: float) -> dict[str, float]:
        """Return what as many random networks come to as can be trained in the time, the last of them whole."""
        under = self.under(quantile)
        seconds, best_score, best = 0.0, -np.inf, None
        for row in under.networks.tolist():
            if seconds >= most_cpu_s:
                break
            architecture = tuple(row)
            score, took_s = self.short_training(architecture, self.options.random_epochs)
            seconds += took_s
            if score > best_score:
                best_score, best = score, architecture
        assert best is not None
        return self.result(best, under, seconds)

    def result(self, architecture: Architecture, under: Under, seconds: float) -> dict[str, float]:
        """Return what a network lacks to the best, and when it was found."""
        return {"regret": under.best - self.accuracy(architecture), "minutes": seconds / 60}

    def accuracy(self, architecture: Architecture) -> float:
        """Return the benchmark's accuracy of a network, in percent."""
        return 100 * self.benchmark.score(self.benchmark.space.canonical(architecture))

    def under(self, quantile: float) -> Under:
        """Return a limit by the benchmark's own numbers, which are of 32 pixels."""
        sizes = [len(d.choices) for d in self.space.decisions]
        every = np.indices(sizes).reshape(len(sizes), -1).T
        distinct = np.array(list(dict.fromkeys(self.space.canonical(tuple(a)) for a in every.tolist())))
        distinct = distinct[numpy_rng(self.seed, "random").permutation(len(distinct))]
        macs = self.benchmark.cost("macs", distinct)
        maximum = float(np.quantile(macs, quantile))
        networks = distinct[macs <= maximum]
        limit = Limit(name="macs", cost=lambda a: self.benchmark.cost("macs", a), maximum=maximum)
        return Under(
            constraint=HardLimits(limits=(limit,)),
            best=float(self.benchmark.validation[self.benchmark.index(networks)].max()),
            networks=networks,
        )

    @property
    def supernet_s(self) -> float:
        """The CPU seconds that the supernet's training took."""
        _ = self.evaluator
        return sum(float(line["cpu_s"]) for line in _lines(self.folder / "supernet.jsonl"))

    def likelihood(self, architecture: Architecture) -> tuple[float, float]:
        """Return what the supernet says of a network, and the CPU seconds that it took."""
        return self._scored("likelihoods.jsonl", architecture, 0, lambda: self._likelihood(architecture))

    def _likelihood(self, architecture: Architecture) -> float:
        return float(self.evaluator.metrics(architecture)["likelihood"])

    def short_training(self, architecture: Architecture, epochs: int) -> tuple[float, float]:
        """Return the score of a network that was trained alone, and the CPU seconds that it took."""
        training = replace(self.inputs.training, epochs=epochs)
        inputs = replace(self.inputs, training=training)
        return self._scored("trainings.jsonl", architecture, epochs, lambda: ShortTraining(inputs).score(architecture))

    def _scored(
        self, name: str, architecture: Architecture, epochs: int, score: Callable[[], float]
    ) -> tuple[float, float]:
        with JsonLines(self.folder / name) as lines:
            for line in lines.records:
                if line["architecture"] == list(architecture) and line["epochs"] == epochs:
                    return float(line["score"]), float(line["cpu_s"])
            started = time.process_time()
            found = score()
            seconds = time.process_time() - started
            lines.append({"architecture": list(architecture), "epochs": epochs, "score": found, "cpu_s": seconds})
        return found, seconds

    @cached_property
    def dataset(self) -> Dataset:
        """CIFAR-10 at the size that is trained at."""
        return load_dataset("cifar10", self.options.data, input_size=self.options.input_size)

    @cached_property
    def splits(self) -> Splits:
        """Nine tenths of the training images, and those of the rest that drive the search."""
        train, validation = self.dataset.train.divided(0.9, numpy_rng(self.seed, "train_portion"))
        if self.options.train_images:
            train = train.limited(self.options.train_images, numpy_rng(self.seed, "train"))
        validation = validation.limited(self.options.validation_images, numpy_rng(self.seed, "validation"))
        return Splits(train=train, validation=validation, retrain=train, retrain_validation=None)

    @cached_property
    def inputs(self) -> EvaluatorInputs:
        """The settings and the images that a network is trained alone with."""
        task = LearningTask(agent_class=ClassificationAgent, space=self.space, dataset=self.dataset, seed=self.seed)
        return EvaluatorInputs(
            space=self.space,
            supernet=self.evaluator_supernet,
            task=task,
            splits=self.splits,
            training=RetrainConfig(),
            batch_size=64,
            recalibration_batches=NUM_CALIBRATION,
            seed=self.seed,
        )

    @cached_property
    def evaluator(self) -> SupernetEvaluator:
        """The supernet's scores, once it is trained."""
        return SupernetEvaluator(
            self.evaluator_supernet,
            ClassificationAgent(),
            calibration=calibration_batches(
                Batches.of(self.dataset, self.splits.train, CALIBRATION_BATCH),
                NUM_CALIBRATION,
                torch_rng(self.seed, "recalibration"),
            ),
            validation=list(Batches.of(self.dataset, self.splits.validation, 250).in_order()),
        )

    @cached_property
    def evaluator_supernet(self) -> Supernet:
        """The trained supernet; the CPU seconds of every call that trained are written down."""
        with torch.random.fork_rng(devices=[]):
            seed_torch(self.seed, "supernet")
            supernet = self.space.supernet()
        config = TrainingConfig(
            epochs=self.options.supernet_epochs,
            batch_size=64,
            learning_rate=0.1,
            weight_decay=5e-4,
            label_smoothing=0.1,
            ema_decay=self.options.ema_decay,
            warmup_epochs=0.5,
        )
        strategy = STRATEGIES["uniform"](self.space, HardLimits(limits=()))
        trainer = Trainer(
            module=supernet,
            config=config,
            batches=Batches.of(self.dataset, self.splits.train, config.batch_size),
            accumulate=steps_of(strategy, supernet, SmoothedCrossEntropy(label_smoothing=config.label_smoothing)),
            checkpoint=self.folder / "checkpoint.safetensors",
            name="supernet",
            seed=self.seed,
        )
        started = time.process_time()
        try:
            trainer.fit()
        finally:  # its checkpoint is gone on from, so that the CPU seconds before an interruption count, too
            with JsonLines(self.folder / "supernet.jsonl") as lines:
                lines.append({"cpu_s": time.process_time() - started})
        return supernet


def _lines(path: Path) -> list[dict[str, Any]]:
    with JsonLines(path) as lines:
        return list(lines.records)


if __name__ == "__main__":
    with arguments.errors_in_a_line():
        main()
