"""One space, one supernet and one share of latency on several runtimes: tables side by side, and who wins where.

For each device a table is made; then a network is searched for under the same share of its slowest network's time,
all with one supernet; then all winners are timed on all devices and tested by each.

    python benchmarks/runtimes.py --out runs/runtimes cpu cpu-openvino cpu-ncnn cpu-mnn
    python benchmarks/runtimes.py --out runs/fbnet --tables-only --space fbnet-s --input-size 32 cpu cpu-openvino
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Make the tables, search, time across, and print."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    print("| device | fastest ms | slowest ms | mean error | bias | within 5 % | within 10 % | tau | seconds |")
    print("| --- " * 9 + "|")
    usable = [device for device in options.devices if _table(device, options)]
    if options.tables_only:
        return
    winners = {device: _search(device, usable[0], options) for device in usable}
    print(f"\nsearched for {options.max_latency} of the slowest network on each, one supernet")
    print("| searched for | its budget ms | test accuracy | " + " | ".join(f"ms on {d}" for d in usable) + " |")
    print("| --- " * (3 + len(usable)) + "|")
    times = {device: _timed(device, [w["onnx"] for w in winners.values()], options) for device in usable}
    for position, (device, winner) in enumerate(winners.items()):
        cells = [
            f"{times[on][position]:.4f}" + ("" if times[on][position] <= winners[on]["max_latency_ms"] else " (over)")
            for on in usable
        ]
        accuracy, budget = winner["test_accuracy"], winner["max_latency_ms"]
        print(f"| {device} | {budget:.4f} | {accuracy:.2%} | " + " | ".join(cells) + " |")
    for on in usable:
        keeping = {d: w for i, (d, w) in enumerate(winners.items()) if times[on][i] <= winners[on]["max_latency_ms"]}
        best = max(keeping, key=lambda d: keeping[d]["test_accuracy"], default=None)
        print(f"on {on} the most accurate that keeps its budget was searched for {best}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", nargs="+", help="names of devices")
    parser.add_argument("--devices-file", type=Path)
    parser.add_argument("--space", default="nasbench-macro")
    parser.add_argument("--input-size", default="32")
    parser.add_argument("--width", default="1")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--train-images", default="10000")
    parser.add_argument("--max-latency", default="50%")
    parser.add_argument("--epochs", default="3", help="of the supernet")
    parser.add_argument("--retrain-epochs", default="3")
    parser.add_argument("--evaluations", default="60")
    parser.add_argument("--tables-only", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/runtimes"))
    return parser.parse_args()


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hwnas", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)


def _of_file(options: argparse.Namespace) -> list[str]:
    return ["--devices", str(options.devices_file)] if options.devices_file else []


def _table(device: str, options: argparse.Namespace) -> bool:
    """Print a line on the device's table, made where there is none; return whether it is there."""
    path, started = options.out / f"{device}.lut.json", time.monotonic()
    arguments = ["--space", options.space, "--input-size", options.input_size, "--width", options.width]
    done = _run("profile", *arguments, "--device", device, *_of_file(options), "-o", path, "--quiet")
    if not path.exists():
        print(f"| {device} | no table: exit code {done.returncode} |", flush=True)
        return False
    shown = json.loads(_run("lut", "show", path, "--json").stdout)
    certificate: dict[str, Any] = shown["certificate"]
    fastest, slowest = (shown["extremes"][which]["predicted_ms"] for which in ("fastest", "slowest"))
    print(
        f"| {device} | {fastest:.4f} | {slowest:.4f} | {certificate['mape']:.1%} | {certificate['bias']:+.1%} | "
        f"{certificate['within_5pct']:.0%} | {certificate['within_10pct']:.0%} | {certificate['kendall_tau']:.2f} | "
        f"{time.monotonic() - started:.0f} |",
        flush=True,
    )
    return True


def _search(device: str, first: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the summary of the search for a device; all but the first begin with the first's supernet."""
    out, table = options.out / f"for-{device}", options.out / f"{device}.lut.json"
    arguments: list[str | Path] = ["--max-latency", options.max_latency, "--lut", table, "--out", out, "--json"]
    arguments += ["--device", device, *_of_file(options)]
    if device == first:
        arguments += ["--space", options.space, "--width", options.width, "--data", options.data]
        arguments += ["--data-root", options.data_root] if options.data_root else []
        arguments += ["--train-images", options.train_images, "--epochs", options.epochs]
        arguments += ["--retrain-epochs", options.retrain_epochs, "--evaluations", options.evaluations]
        arguments += ["--set", "retrain.references=false"]
    else:
        arguments += ["--from", options.out / f"for-{first}"]
    done = _run("search", *arguments)
    if not done.stdout.strip():
        raise SystemExit(f"hwnas search for {device} ended with exit code {done.returncode}")
    return dict(json.loads(done.stdout))


def _timed(device: str, models: list[str], options: argparse.Namespace) -> list[float]:
    """Return what each model takes on a device, in milliseconds, timed in the same rounds."""
    done = _run("compare", *models, "--device", device, *_of_file(options), "--json", "--quiet")
    return [row["latency_ms"] for row in json.loads(done.stdout)]


if __name__ == "__main__":
    main()
