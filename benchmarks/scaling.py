"""Evaluations by a supernet in this process and on Ray actors: how fast, and how many bytes travel.

The same architectures are scored by the same weights in this process with one thread, then by 1 and 2 actors, each of
which has one thread, in rounds of all of them: other load on the machine meets all alike, and what is compared within a
round are ratios. The weights are those that a supernet begins with, as speed and bytes do not depend on them. The
scores must be equal whatever evaluates, to the last bit, or the program fails; nothing is said of time but what it was.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --data cifar10 --data-root DIR --architectures 8 --actors 1,2
    python benchmarks/scaling.py --address 10.0.0.1:6379 --actors 4,8,16 --json scaling.json
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from hwnas.agents import ClassificationAgent
from hwnas.dataflow import Batches, load_dataset
from hwnas.evaluators.executor import in_this_process, on_ray
from hwnas.evaluators.score import Evaluate, Score
from hwnas.evaluators.supernet import SupernetEvaluator, calibration_batches
from hwnas.training.randomness import numpy_rng, seed_torch, torch_rng
from search_spaces import Architecture, SearchSpace, SpaceSpec, make_space
from search_spaces.supernet import Supernet

TRAIN_PORTION = 0.8
"""As `hwnas search` divides the training images: the rest scores networks."""

LOCAL = 0
"""What stands for this process where a number of actors is meant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Bytes that travel, without Ray's own envelopes.

    Attributes:
        evaluator: to each node, once.
        weights: of it, the supernet.
        images: of it, those that give statistics and those that scores come from.
        arguments: to an actor for each candidate, the baseline of a search among them.
        result: back for each candidate.
    """

    evaluator: int
    weights: int
    images: int
    arguments: int
    result: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """The speed at which the architectures were evaluated in one round.

    Attributes:
        actors: 0 for this process.
        start_s: seconds until each actor had scored a first network: Ray, the evaluator's journey, imports.
        evaluation_s: of all architectures, once all had begun.
    """

    actors: int
    start_s: float
    evaluation_s: float


def main() -> None:
    """Print speeds and bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="a data set of classes [digits]")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--space", default="nasbench-macro")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--architectures", type=int, default=16)
    parser.add_argument("--validation-images", type=int, help="score networks by at most so many images [all]")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--recalibration-batches", type=int, default=8)
    parser.add_argument("--actors", default="1,2", help="numbers of actors, comma-separated [1,2]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--address", help="a cluster that runs [one on this machine, made anew each time]")
    parser.add_argument("--candidates", type=int, default=1000, help="of the search whose hours are worked out [1000]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures of every round there")
    options = parser.parse_args()
    try:
        numbers = [int(word) for word in options.actors.split(",")]
    except ValueError:
        parser.error(f"expected numbers with commas between them for --actors, found {options.actors}")
    counts = [options.architectures, options.batch_size, options.recalibration_batches, options.rounds, *numbers]
    if min(counts) < 1:
        parser.error("expected numbers of 1 or more")

    torch.set_num_threads(1)  # as each actor has
    space, evaluator, supernet, images = made(options)
    rng = numpy_rng(options.seed, "architectures")
    architectures = [space.sample(rng) for _ in range(options.architectures)]
    speeds, scores = measured(evaluator, architectures, [LOCAL, *numbers], options.rounds, options.address)
    sizes = sizes_of(evaluator, supernet, architectures[0], scores[0])

    print(f"{space.spec}: {len(architectures)} architectures, {images} images each, {options.rounds} rounds")
    print(f"{'':>9}  candidates/s  images/s  speed  start-up s")
    for number in [LOCAL, *numbers]:
        print(_row(number, speeds, len(architectures), images))
    print(f"to a node, once: {sizes.evaluator:,} bytes ({sizes.weights:,} weights, {sizes.images:,} images)")
    print(f"a candidate: {sizes.arguments:,} bytes there, {sizes.result:,} back")
    for number in numbers:
        a_second = images * len(architectures) / _median(speeds, number)
        took_h = hours(options.candidates, images, a_second / number, number)
        print(f"{options.candidates} candidates on {number} actors like these: {took_h:.2f} h")
    print("scores: equal in this process and on all numbers of actors")
    if options.json:
        told = {"images": images, "sizes": asdict(sizes), "speeds": [asdict(speed) for speed in speeds]}
        options.json.write_text(json.dumps(told | {"scores": [s.value for s in scores]}, indent=1), encoding="utf-8")


def made(options: argparse.Namespace) -> tuple[SearchSpace, SupernetEvaluator, Supernet, int]:
    """Return the space, an evaluator as a search makes it, its supernet, and the images that a candidate computes."""
    dataset = load_dataset(options.data, options.data_root)
    batches = Batches.of(dataset, dataset.train, options.batch_size)
    _, channels, height, width = next(batches.in_order())[0].shape
    if height != width:
        raise SystemExit(f"expected square images, found {height} x {width}")
    space = make_space(
        SpaceSpec(
            name=options.space,
            input_size=height,
            in_channels=channels,
            num_classes=len(dataset.classes),
            width=options.width,
        )
    )
    train, validation = dataset.train.divided(TRAIN_PORTION, numpy_rng(options.seed, "train_portion"))
    validation = validation.limited(options.validation_images, numpy_rng(options.seed, "validation"))
    seed_torch(options.seed, "supernet")
    supernet = space.supernet()
    calibration = calibration_batches(
        Batches.of(dataset, train, options.batch_size),
        options.recalibration_batches,
        torch_rng(options.seed, "recalibration"),
    )
    evaluator = SupernetEvaluator(
        supernet,
        ClassificationAgent(),
        calibration=calibration,
        validation=list(Batches.of(dataset, validation, options.batch_size).in_order()),
    )
    return space, evaluator, supernet, sum(map(len, calibration)) + len(validation)


def measured(
    evaluator: SupernetEvaluator,
    architectures: Sequence[Architecture],
    numbers: Sequence[int],
    rounds: int,
    address: str | None = None,
) -> tuple[list[Speed], list[Score]]:
    """Return the speed of each number of actors in each round, and the scores that all of them agree on.

    Raises:
        SystemExit: scores differ.
    """
    speeds: list[Speed] = []
    agreed: list[Score] | None = None
    for _ in range(rounds):
        for number in numbers:
            started = time.monotonic()
            with _executor(evaluator, number, address) as evaluate:
                first = [architectures[0]] * max(1, number)
                list(evaluate(first, [None] * len(first)))
                begun = time.monotonic()
                scores = list(evaluate(architectures, [None] * len(architectures)))
                ended = time.monotonic()
            speeds.append(Speed(actors=number, start_s=begun - started, evaluation_s=ended - begun))
            if agreed is not None and scores != agreed:
                raise SystemExit(f"{_name(number)}: scores are not those of {_name(numbers[0])}")
            agreed = scores
    assert agreed is not None, "there is a round"
    return speeds, agreed


@contextmanager
def _executor(evaluator: SupernetEvaluator, number: int, address: str | None) -> Iterator[Evaluate]:
    if number == LOCAL:
        yield in_this_process(evaluator)
        return
    with on_ray(evaluator, number, address) as evaluate:
        yield evaluate


def sizes_of(evaluator: SupernetEvaluator, supernet: Supernet, architecture: Architecture, score: Score) -> Sizes:
    """Return the bytes that travel, by serialising them as Ray does.

    A search gives a candidate a baseline, which is a score like its own.
    """
    whole, weights = num_bytes(evaluator), num_bytes(supernet)
    return Sizes(
        evaluator=whole,
        weights=weights,
        images=whole - weights,
        arguments=num_bytes(architecture) + num_bytes(score),
        result=num_bytes(score),
    )


def num_bytes(value: object) -> int:
    """Return the bytes that Ray's pickler makes of a value, those that it keeps apart among them."""
    from ray import cloudpickle

    apart: list[memoryview] = []
    pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=lambda buffer: apart.append(buffer.raw()))
    return len(pickled) + sum(view.nbytes for view in apart)


def hours(candidates: int, images: int, images_a_second: float, actors: int, generation: int | None = None) -> float:
    """Return the hours that the candidates of a search take.

    Args:
        images: that each candidate computes.
        images_a_second: of one actor.
        generation: candidates that are asked for at a time, None where all actors have work all the time; the last
            ones of a generation leave actors idle where it is no multiple of them.
    """
    busy = 1.0 if generation is None else generation / (actors * math.ceil(generation / actors))
    return candidates * images / (images_a_second * actors * busy) / 3600


def _median(speeds: Sequence[Speed], number: int) -> float:
    return float(np.median([speed.evaluation_s for speed in speeds if speed.actors == number]))


def _row(number: int, speeds: Sequence[Speed], num_architectures: int, images: int) -> str:
    """Return a line of the table; the speed is relative to this process within each round."""
    own = [speed for speed in speeds if speed.actors == number]
    local = [speed.evaluation_s for speed in speeds if speed.actors == LOCAL]
    ratio = np.median([there / speed.evaluation_s for there, speed in zip(local, own, strict=True)])
    a_second = num_architectures / _median(speeds, number)
    start_s = np.median([speed.start_s for speed in own])
    return f"{_name(number):>9}  {a_second:12.2f}  {a_second * images:8.0f}  {ratio:4.2f}x  {start_s:10.1f}"


def _name(number: int) -> str:
    return "local" if number == LOCAL else f"{number} actor{'s' if number > 1 else ''}"


if __name__ == "__main__":
    main()
