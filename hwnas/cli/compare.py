"""`hwnas compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.arguments import DeviceFlags, Json, Quiet, device_named
from hwnas.cli.completion import names_of
from hwnas.cli.printing import print_json, print_table
from hwnas.cli.ranges import ranged
from hwnas.quantities import counted

if TYPE_CHECKING:
    from hwnas.export.compare import ComparedModel

Models = Annotated[
    list[Path],
    typer.Argument(help="ONNX files; RUN for a run's exported winner, RUN:NAME for another network of it."),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuringDevice(DeviceFlags):
    """The device that models are measured on."""

    device: Annotated[str, device_named("Where to measure; see hwnas devices.")] = "cpu"
    threads: Annotated[int | None, ranged("threads", "Threads [the device's].")] = None
    runtime: Annotated[
        str | None, typer.Option(help="Another runtime, such as openvino; see hwnas devices [the device's].")
    ] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyFlags:
    """The data that accuracy is told on, and what of models tells it."""

    data: Annotated[
        str | None, typer.Option(help="Test on this data set too.", autocompletion=names_of("dataflow"))
    ] = None
    data_root: Annotated[Path | None, typer.Option(help="Folder or archive of the data [data].")] = None
    input_size: Annotated[
        str | None,
        typer.Option(
            help="Pixels a side, or height and width as 128x256, of the data and of models that take any "
            "[each model's own, or the data's]."
        ),
    ] = None
    output: Annotated[str | None, typer.Option(help="What tells the class, of models with several outputs.")] = None
    skip_broken: Annotated[bool, typer.Option("--skip-broken-images", help="Leave them out.")] = False


def compare(
    models: Models,
    *,
    on: MeasuringDevice,
    test: AccuracyFlags,
    rounds: Annotated[int, ranged("rounds", "Rounds of measurement; 100 tell p95, 300 p99.")] = 100,
    seed: Annotated[int, ranged("seed", "For the order of measurement.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare latency, accuracy, size and memory of any ONNX models, measured interleaved."""
    from hwnas.cli.idle_flags import refuse_without
    from hwnas.dataflow import load_dataset
    from hwnas.export.compare import SCORES, Question, compare_models
    from hwnas.pipeline.named import models_named, normalisations
    from hwnas.progress import Reporter
    from hwnas.quantities import parse_image_size
    from onnx_models.image_size import height_width
    from profilers import Profiler
    from profilers.device import adjusted, find_device, require_cores, require_trusted_runtime

    size = None if test.input_size is None else parse_image_size(test.input_size)
    if test.data is None:
        refuse_without("--data", data_root=test.data_root, output=test.output, skip_broken_images=test.skip_broken)
    reporter = Reporter(is_quiet=quiet)
    chosen = adjusted(find_device(on.device, on.devices), threads=on.threads, runtime=on.runtime)
    require_trusted_runtime(chosen)
    require_cores(chosen)
    dataset = load = None
    if test.data is not None:
        root = test.data_root or Path("data")
        load = partial(load_dataset, test.data, root, skip_broken_images=test.skip_broken)
        dataset = load(input_size=size)
    for remark in dataset.remarks if dataset else ():
        reporter.line(remark)
    profiler = Profiler(device=chosen, rounds=rounds, seed=seed)
    paths = models_named(models, reporter)
    question = Question(
        dataset=dataset,
        output=test.output,
        input_size=size,
        at_size=None if load is None or size is not None else lambda other: load(input_size=other),
        normalisation=normalisations(models),
    )
    rows = compare_models(paths, profiler, question, reporter=reporter)
    for row in rows:
        if size is not None and not {*height_width(size)} <= {*row.bound.values()}:
            reporter.warn(f"{row.model} takes {row.input} whatever --input-size says")
    if as_json:
        print_json([row.as_dict(with_accuracy=dataset is not None) for row in rows])
        return
    score, _ = SCORES["classes" if dataset is None else dataset.target_kind]
    _print(rows, f"{chosen.name}, by {chosen.runtime}" if on.runtime else chosen.name, score)
    _print_what_rounds_tell(rounds)


def _print_what_rounds_tell(rounds: int) -> None:
    """Print which tail percentiles are not told, since they take more rounds."""
    from profilers.tails import LEAST_RUNS, TAILS, percentile_name

    for percentile in TAILS:
        if rounds < (least := LEAST_RUNS[percentile]):
            print(f"no {percentile_name(percentile)} from {rounds} runs of each model: --rounds {least} tells it")


def _print(rows: Sequence[ComparedModel], device: str, score: str) -> None:
    fastest = min(row.latency_ms for row in rows)
    print_table(
        f"{counted(len(rows), 'model')} on {device}",
        ["model", "input", "p50 ms", "p95 ms", "p99 ms", "times the fastest", score, "size KiB", "memory KiB"],
        [
            [
                row.model,
                row.input,
                f"{row.latency_ms:.4g}",
                *("" if tail is None else f"{tail:.4g}" for tail in (row.p95_ms, row.p99_ms)),
                f"{row.latency_ms / fastest:.2f}",
                "" if row.accuracy is None else f"{row.accuracy:.2%}",
                f"{row.size_bytes / 1024:.0f}",
                "" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1024:.0f}",
            ]
            for row in rows
        ],
    )
    for row in rows:
        if row.bound:
            sizes = ", ".join(f"{name} = {size}" for name, size in row.bound.items())
            print(f"{row.model}: what it leaves free was measured with {sizes}")
        for figure, why in row.missing.items():
            print(f"{row.model}: no {figure.removesuffix('_bytes').replace('_', ' ')}: {why}")
