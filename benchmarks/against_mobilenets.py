"""The winners of runs against MobileNetV2 and MobileNetV3-small, scaled by width to the winner's measured latency.

The baselines are built from the same blocks, with stem and first strided stage at stride 1 where the input is small, as
all search spaces have it. Of each the narrowest is taken that is no faster than the winner, or takes some multiple of
its latency, measured interleaved with it on the run's device; it is then trained by the run's own settings for
retraining and tested once. Detectors and segmenters get the neck and head that the winner has.

    python benchmarks/against_mobilenets.py RUN [RUN ...]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.artifacts import WINNER
from hwnas.dataflow import Batches
from hwnas.pipeline.run import Run
from hwnas.profiling import measure_networks
from hwnas.progress import Reporter
from hwnas.stages.setup import ROUNDS
from hwnas.training import Trainer
from hwnas.training.randomness import seed_torch
from hwnas.training.task import LearningTask
from onnx_models.export import export_module
from safe_files import write_text
from search_spaces import SearchSpace, SpaceSpec
from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.head import Classifier, GlobalPool, Head
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.separable import SeparableConv
from search_spaces.chain import ChainSpace
from search_spaces.dense import DenseSpace

WIDTHS = np.arange(0.05, 2.01, 0.05)


def mobilenet_v2(spec: SpaceSpec) -> ChainSpace:
    """MobileNetV2 (Sandler et al. 2018, table 2)."""
    stem, channels, size = _stem(spec, 32, 16, act="relu6")
    layers: list[list[Block]] = []
    for out, num_layers, stride in ((24, 2, 0), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)):
        for position in range(num_layers):
            block = MBConv(
                in_channels=channels,
                out_channels=make_divisible(out * spec.width),
                input_size=size,
                stride=(stride or spec.early_stride) if position == 0 else 1,
                kernel=3,
                expansion=6,
                act="relu6",
            )
            layers.append([block])
            channels, size = block.out_channels, block.output_size
    # As published, the last convolution is narrowed by no width below 1.
    hidden = make_divisible(1280 * max(1.0, spec.width))
    head = Head(in_channels=channels, out_channels=spec.num_classes, input_size=size, hidden=hidden, act="relu6")
    return ChainSpace(spec, stem=stem, layers=layers, choice_names=["published"], head=[head])


def mobilenet_v3_small(spec: SpaceSpec) -> ChainSpace:
    """MobileNetV3-small (Howard et al. 2019, table 2).

    Expansions are whole numbers here: 4.5 and 3.67 become 4. The first bottleneck, which expands nothing, has no
    squeeze-excite.
    """
    stem, channels, size = _stem(spec, 16, 16, act="hswish", second_stride=spec.early_stride)
    layers: list[list[Block]] = []
    for kernel, expansion, out, se_ratio, act, stride in (
        (3, 4, 24, 0.0, "relu", 2),
        (3, 4, 24, 0.0, "relu", 1),
        (5, 4, 40, 0.25, "hswish", 2),
        (5, 6, 40, 0.25, "hswish", 1),
        (5, 6, 40, 0.25, "hswish", 1),
        (5, 3, 48, 0.25, "hswish", 1),
        (5, 3, 48, 0.25, "hswish", 1),
        (5, 6, 96, 0.25, "hswish", 2),
        (5, 6, 96, 0.25, "hswish", 1),
        (5, 6, 96, 0.25, "hswish", 1),
    ):
        block = MBConv(
            in_channels=channels,
            out_channels=make_divisible(out * spec.width),
            input_size=size,
            stride=stride,
            kernel=kernel,
            expansion=expansion,
            act=act,
            se_ratio=se_ratio,
        )
        layers.append([block])
        channels, size = block.out_channels, block.output_size
    features, hidden = make_divisible(576 * spec.width), make_divisible(1024 * spec.width)
    head = [
        ConvBnAct(in_channels=channels, out_channels=features, input_size=size, kernel=1, act="hswish"),
        GlobalPool(in_channels=features, out_channels=features, input_size=size),
        ConvBnAct(in_channels=features, out_channels=hidden, input_size=1, kernel=1, act="hswish", norm=False),
        Classifier(in_channels=hidden, out_channels=spec.num_classes, input_size=1),
    ]
    return ChainSpace(spec, stem=stem, layers=layers, choice_names=["published"], head=head)


BASELINES: dict[str, Callable[[SpaceSpec], ChainSpace]] = {
    "MobileNetV2": mobilenet_v2,
    "MobileNetV3-small": mobilenet_v3_small,
}


def main() -> None:
    """Scale, train and test the baselines of every run, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument(
        "--slowdowns", default="1", help="times the winner's latency that baselines take at least: 1,2.5"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--baselines", nargs="+", choices=BASELINES, default=list(BASELINES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for folder in options.runs:
        run = Run.from_folder(folder, Reporter())
        slowdowns = [float(text) for text in options.slowdowns.split(",")]
        rows = _compare(run, folder / "baselines", slowdowns, options.baselines)
        print(f"{folder}, seed {run.config.seed}:")
        for name, row in rows.items():
            print(f"  {name}: {row['score']:.2%} test score, {row['measured_ms']:.4f} ms, {row['detail']}")


def _compare(run: Run, folder: Path, slowdowns: Sequence[float], baselines: Sequence[str]) -> dict[str, dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    winner = run.files.export.model(WINNER)
    rows: dict[str, dict[str, Any]] = {}
    paths = {"winner": winner}
    for slowdown, (baseline, make) in product(slowdowns, ((name, BASELINES[name]) for name in baselines)):
        name = baseline if slowdown == 1 else f"{baseline} at {slowdown:g} times"
        space, architecture = _scaled(run, make, winner, folder / baseline, slowdown)
        task = replace(run.learning, space=space)
        module = _trained(run, task, architecture, folder / f"{name}.safetensors")
        test = Batches.of(run.dataset, run.dataset.test, run.config.retrain.batch_size)
        rows[name] = {"score": next(iter(task.agent.metrics(module, test.in_order()).values()))}
        rows[name]["detail"] = f"width {space.spec.width:.2f}"
        paths[name] = folder / f"{name}.onnx"
        _export(run, module, space, paths[name])
    score = next(iter(json.loads(run.files.retrain.metrics(WINNER).read_text()).values()))
    rows["winner"] = {"score": score, "detail": "-".join(map(str, _winner(run)))}
    journal = folder / f"measure-{len(paths)}.journal"
    for name, measured in measure_networks(
        paths, run.device, journal, rounds=2 * ROUNDS, seed=run.config.seed, reporter=run.reporter
    ).items():
        rows[name]["measured_ms"] = measured.latency_ms
    write_text(folder / "result.json", json.dumps(rows, indent=1) + "\n")
    return rows


def _scaled(
    run: Run, make: Callable[[SpaceSpec], ChainSpace], winner: Path, folder: Path, slowdown: float
) -> tuple[SearchSpace, Architecture]:
    """The narrowest network that takes no less than so many times the winner's latency."""
    spec = run.space.spec
    folder.mkdir(exist_ok=True)
    paths = {"winner": winner}
    spaces: dict[str, SearchSpace] = {}
    for width in WIDTHS:
        space = _with_head(
            make(
                SpaceSpec(
                    name=make.__name__,
                    input_size=spec.side,
                    in_channels=spec.in_channels,
                    num_classes=spec.num_classes,
                    width=round(float(width), 2),
                )
            ),
            run,
        )
        if space.candidates in [each.candidates for each in spaces.values()]:
            continue  # channels are multiples of eight
        name = f"{width:.2f}"
        spaces[name], paths[name] = space, folder / f"{name}.onnx"
        if not paths[name].exists():
            _export(run, space.build(_only_architecture(space, run)), space, paths[name])
    measured = measure_networks(
        paths, run.device, folder / "measure.journal", rounds=ROUNDS, seed=run.config.seed, reporter=run.reporter
    )
    print({name: round(found.latency_ms, 4) for name, found in measured.items()})
    least_ms = slowdown * measured["winner"].latency_ms
    name = next(name for name in spaces if measured[name].latency_ms >= least_ms)
    return spaces[name], _only_architecture(spaces[name], run)


def _with_head(chain: ChainSpace, run: Run) -> SearchSpace:
    """Return the published network, with the head of the run's networks where that is no classifier."""
    head = run.space.spec.head
    return chain if head == "classifier" else DenseSpace(replace(chain.spec, head=head), chain)


def _only_architecture(space: SearchSpace, run: Run) -> Architecture:
    """Return the one choice of every layer, and what the winner chose of neck and head.

    The widths of narrow networks' heads are fewer, as channels are multiples of eight: of them it is the widest then.
    """
    decisions = space.head.decisions if isinstance(space, DenseSpace) else ()
    of_head = _winner(run)[len(_winner(run)) - len(decisions) :]
    limited = [min(choice, len(d.choices) - 1) for choice, d in zip(of_head, decisions, strict=True)]
    return (*[0] * (len(space.decisions) - len(decisions)), *limited)


def _winner(run: Run) -> Architecture:
    return tuple(json.loads(run.files.search.outcome.read_text())["networks"]["winner"]["architecture"])


def _trained(run: Run, task: LearningTask, architecture: Architecture, checkpoint: Path) -> torch.nn.Sequential:
    config, space = run.config.retrain, task.space
    with torch.random.fork_rng(devices=[]):
        seed_torch(run.config.seed, "retrain")
        module = space.build(architecture)
    training = task.training_inputs(config, run.dataset.train)

    def accumulate(batch: tuple[torch.Tensor, torch.Tensor], *_: object) -> torch.Tensor:
        loss = training.agent.loss(module(batch[0]), batch[1])
        loss.backward()
        return loss.detach()

    Trainer(
        module=module,
        config=config,
        batches=training.batches,
        accumulate=accumulate,
        checkpoint=checkpoint,
        name=f"train {space.spec.name}",
        seed=run.config.seed,
        reporter=run.reporter,
    ).fit()
    return module.eval()


def _export(run: Run, module: torch.nn.Module, space: SearchSpace, path: Path) -> None:
    spec = space.spec
    shape = (run.device.batch, *spec.input_shape)
    export_module(module.eval(), path, input_shapes=[shape])


def _stem(
    spec: SpaceSpec, first_channels: int, second_channels: int, *, act: str, second_stride: int = 1
) -> tuple[list[Block], int, int]:
    first = ConvBnAct(
        in_channels=spec.in_channels,
        out_channels=make_divisible(first_channels * spec.width),
        input_size=spec.side,
        kernel=3,
        stride=spec.early_stride,
        act=act,
    )
    second = SeparableConv(
        in_channels=first.out_channels,
        out_channels=make_divisible(second_channels * spec.width),
        input_size=first.output_size,
        kernel=3,
        stride=second_stride,
    )
    return [first, second], second.out_channels, second.output_size


if __name__ == "__main__":
    main()
