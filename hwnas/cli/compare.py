"""`hwnas compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.printing import print_json, print_table


def compare(
    models: Annotated[list[Path], typer.Argument(help="ONNX files of one input and one output.")],
    device: Annotated[str, typer.Option(help="Where to measure; see hwnas devices.")] = "cpu",
    devices: Annotated[Path | None, typer.Option(help="A devices file of your own.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads [the device's].")] = None,
    data: Annotated[str | None, typer.Option(help="Test on this data set too.")] = None,
    data_root: Annotated[Path, typer.Option(help="Folder or archive of the data.")] = Path("data"),
    input_size: Annotated[int | None, typer.Option(help="Pixels a side [the data's].")] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken-images", help="Leave them out.")] = False,
    rounds: Annotated[int, typer.Option(help="Rounds of measurement.", min=2)] = 80,
    seed: Annotated[int, typer.Option(help="For the order of measurement.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option(help="No progress.")] = False,
) -> None:
    """Latency, accuracy, size and memory of any ONNX classifiers, measured interleaved."""
    from hwnas.dataflow import load_dataset
    from hwnas.export.compare import compare_models
    from hwnas.progress import Reporter
    from profilers.device import adjusted, find_device

    reporter = Reporter(is_quiet=quiet)
    dataset = load_dataset(data, data_root, input_size=input_size, skip_broken_images=skip_broken) if data else None
    for remark in dataset.remarks if dataset else ():
        reporter.line(remark)
    rows = compare_models(
        models,
        adjusted(find_device(device, devices), threads=threads),
        dataset=dataset,
        rounds=rounds,
        seed=seed,
        reporter=reporter,
    )
    if as_json:
        print_json(rows)
        return
    fastest = min(row["latency_ms"] for row in rows)
    print_table(
        f"{len(rows)} models on {device}",
        ["model", "input", "ms", "times the fastest", "accuracy", "size KiB", "memory KiB"],
        [
            [
                row["model"],
                row["input"],
                f"{row['latency_ms']:.4g}",
                f"{row['latency_ms'] / fastest:.2f}",
                f"{row['accuracy']:.2%}" if "accuracy" in row else "",
                f"{row['size_bytes'] / 1024:.0f}",
                "" if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / 1024:.0f}",
            ]
            for row in rows
        ],
    )
