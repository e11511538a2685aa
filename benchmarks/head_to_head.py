"""A trained ResNet-20 taken to shares of its measured time: hwnas beside what people do by hand and Torch-Pruning.

    python benchmarks/head_to_head.py --data-root DIR --out runs/head --seeds 3
    python benchmarks/head_to_head.py --data-root DIR --out runs/head --seeds 3 --without-torch-pruning

Trains the network once (what is there is continued), then for each seed: one `hwnas search` for all budgets, which
gives a winner and all widths scaled alike; and Torch-Pruning's magnitude pruner (global, round_to 1 and 8; needs
`pip install torch-pruning`), its share bisected to the same measured time. Everything is trained on for as many epochs,
with distillation from the original. Prints a line for each; --json writes the record.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from resnet20 import build
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from hwnas.dataflow import Batches, Dataset, load_dataset
from hwnas.evaluators.supernet import calibration_batches, recalibrate
from hwnas.profiling import measure_networks
from hwnas.progress import Reporter
from onnx_models.export import export_module
from profilers.device import find_device

SUPERNET_EPOCHS, RETRAIN_EPOCHS = 5, 10
ROUNDS = 20
MOST_TRIES = 8
"""Steps of a bisection."""


def main() -> None:
    """Train, search, prune, and print."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset("cifar10", options.data_root)
    if options.train_images:
        dataset = _limited(dataset, options.train_images)
    weights = options.out / "resnet20.safetensors"
    original = _trained(dataset, weights, options)
    record: dict[str, Any] = {"original": _accuracy(original, dataset, options.accelerator), "rows": []}
    print(f"original: test accuracy {record['original']:.2%}", flush=True)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        rows = _searched(weights, options, seed)
        _write(options.json, {**record, "rows": record["rows"] + rows})
        if not options.without_torch_pruning:
            for row in [r for r in rows if r["method"] == "hwnas"]:
                for round_to in (1, 8):
                    rows.append(_pruned(original, dataset, options, seed, row, round_to))
                    _show(rows[-1])
                    _write(options.json, {**record, "rows": record["rows"] + rows})
        record["rows"] += rows
        _write(options.json, record)


def _write(path: Path | None, record: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/head_to_head"))
    parser.add_argument("--epochs", type=int, default=40, help="of the original network")
    parser.add_argument("--budgets", default="60%,40%")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--train-images", type=int, help="only so many, for a try")
    parser.add_argument("--set", action="append", default=[], help="passed on to hwnas search")
    parser.add_argument("--without-torch-pruning", action="store_true")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _limited(dataset: Dataset, num: int) -> Dataset:
    from dataclasses import replace

    import numpy as np

    return replace(dataset, train=dataset.train.subset(np.arange(num)))


def _trained(dataset: Dataset, path: Path, options: argparse.Namespace) -> nn.Module:
    """Return the network, trained; continues from the last finished epoch."""
    torch.manual_seed(0)
    module, state = build().to(options.accelerator), path.with_suffix(".training.safetensors")
    if path.exists():
        module.load_state_dict(load_file(path))
        return module.cpu().eval()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    first = 0
    if state.exists():
        kept = load_file(state)
        first = int(kept.pop("epoch"))
        module.load_state_dict(kept)
    batches = Batches.of(dataset, dataset.train, options.batch_size)
    for epoch in range(first, options.epochs):
        started = time.monotonic()
        rates = _cosine(0.1, epoch, options.epochs, batches.num_shuffled)
        loss = _epoch(module, optimizer, batches, rates, torch.Generator().manual_seed(epoch), None)
        save_file({**module.state_dict(), "epoch": torch.tensor(epoch + 1)}, state)
        print(
            f"original: epoch {epoch + 1}/{options.epochs}, loss {loss:.3f}, {time.monotonic() - started:.0f} s",
            flush=True,
        )
    save_file(module.state_dict(), path)
    return module.cpu().eval()


def _cosine(rate: float, epoch: int, epochs: int, steps: int) -> Iterator[float]:
    for step in range(steps):
        done = (epoch + step / steps) / epochs
        yield (
            rate
            * min(1.0, (epoch * steps + step + 1) / (steps / 2))
            * 0.5
            * float(1 + torch.cos(torch.tensor(torch.pi * done)))
        )


def _epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    rates: Iterator[float],
    generator: torch.Generator,
    teacher: nn.Module | None,
) -> float:
    device = next(module.parameters()).device
    module.train()
    total = 0.0
    for (x_NCHW, targets_N), rate in zip(batches.shuffled(generator), rates, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate
        x_NCHW, targets_N = x_NCHW.to(device), targets_N.to(device)
        optimizer.zero_grad()
        logits = module(x_NCHW)
        loss = functional.cross_entropy(logits, targets_N)
        if teacher is not None:
            with torch.no_grad():
                taught = functional.softmax(teacher(x_NCHW) / 2.0, dim=1)
            loss = loss + 4.0 * functional.kl_div(
                functional.log_softmax(logits / 2.0, dim=1), taught, reduction="batchmean"
            )
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        total += float(loss.detach())
    return total / batches.num_shuffled


def _accuracy(module: nn.Module, dataset: Dataset, accelerator: str) -> float:
    module, right = module.to(accelerator).eval(), 0
    with torch.no_grad():
        for x_NCHW, targets_N in Batches.of(dataset, dataset.test, 500).in_order():
            right += int((module(x_NCHW.to(accelerator)).argmax(1).cpu() == targets_N).sum())
    module.cpu()
    return right / len(dataset.test)


def _searched(weights: Path, options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Return a row for the winner of each budget and for what is scaled alike under the first."""
    first, *more = options.budgets.split(",")
    out = options.out / f"seed{seed}"
    command = [sys.executable, "-m", "hwnas", "search", "--model", f"{Path(__file__).parent / 'resnet20.py'}:build"]
    command += ["--weights", str(weights), "--data", "cifar10", "--data-root", str(options.data_root)]
    command += ["--max-latency", first, "--seed", str(seed), "--out", str(out), "--json"]
    command += ["--budgets", ",".join(more)] if more else []
    command += ["--epochs", str(SUPERNET_EPOCHS), "--retrain-epochs", str(RETRAIN_EPOCHS)]
    command += ["--accelerator", options.accelerator, "--trust-code"]
    for name in ("supernet", "retrain"):
        command += ["--set", f"{name}.batch_size={options.batch_size}"]
    table = options.out / "lut.json"
    command += ["--lut", str(table)] if table.exists() else []
    command += ["--train-images", str(options.train_images)] if options.train_images else []
    for setting in options.set:
        command += ["--set", setting]
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"hwnas search ended with {done.returncode}")
    if not table.exists():
        table.write_bytes((out / "lut.json").read_bytes())
    summary = json.loads(done.stdout)
    summary.setdefault("references", {})
    found = [("hwnas", summary), *(("hwnas", row) for row in summary["winners"].values())]
    found += [(name, row) for name, row in summary["references"].items()]
    rows = [
        {
            "method": name,
            "seed": seed,
            "budget_ms": row["max_latency_ms"],
            "measured_ms": row["measured_ms"],
            "is_kept": row["budget_kept"],
            "accuracy": row["test_accuracy"],
            "params": row["params"],
            "macs": row["macs"],
            "tries": 1,
            "seconds": time.monotonic() - started,
        }
        for name, row in found
    ]
    for row in rows:
        _show(row)
    return rows


def _show(row: dict[str, Any]) -> None:
    print(
        f"seed {row['seed']} {row['method']}: {row['measured_ms']:.4g} of {row['budget_ms']:.4g} ms, "
        f"kept {row['is_kept']}, test accuracy {row['accuracy']:.2%}, {row['tries']} tries",
        flush=True,
    )


def _pruned(
    original: nn.Module, dataset: Dataset, options: argparse.Namespace, seed: int, like: dict[str, Any], round_to: int
) -> dict[str, Any]:
    """Return the row of Torch-Pruning at the time that a winner was measured to take."""
    started = time.monotonic()
    low, high, best, tries = 0.0, 0.95, None, 0
    while tries < MOST_TRIES:
        share = (low + high) / 2
        module = _prune(original, share, round_to)
        ms = _measured_ms(module)
        tries += 1
        if ms <= like["budget_ms"]:
            high, best = share, (module, ms)
        else:
            low = share
    assert best is not None, "no share keeps the budget"
    module, ms = best
    epochs = SUPERNET_EPOCHS + RETRAIN_EPOCHS
    batches = Batches.of(dataset, dataset.train, options.batch_size)
    recalibrate(module, calibration_batches(batches, 16, torch.Generator().manual_seed(seed)))
    module = module.to(options.accelerator)
    teacher = copy.deepcopy(original).to(options.accelerator).eval()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
    for epoch in range(epochs):
        rates = _cosine(0.01, epoch, epochs, batches.num_shuffled)
        _epoch(module, optimizer, batches, rates, torch.Generator().manual_seed(1000 * seed + epoch), teacher)
    return {
        "method": f"torch-pruning round_to {round_to}",
        "seed": seed,
        "budget_ms": like["budget_ms"],
        "measured_ms": ms,
        "is_kept": ms <= like["budget_ms"],
        "accuracy": _accuracy(module, dataset, options.accelerator),
        "params": sum(p.numel() for p in module.parameters()),
        "tries": tries,
        "seconds": time.monotonic() - started,
    }


def _prune(original: nn.Module, share: float, round_to: int) -> nn.Module:
    import torch_pruning

    module = copy.deepcopy(original)
    pruner = torch_pruning.pruner.MagnitudePruner(
        module,
        torch.zeros(1, 3, 32, 32),
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=share,
        round_to=round_to,
        ignored_layers=[module.fc],
    )
    pruner.step()
    return module.eval()


def _measured_ms(module: nn.Module) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_module(module, path, input_shapes=[(1, 3, 32, 32)])
        found = measure_networks(
            {"model": path},
            find_device("cpu", None),
            Path(folder) / "journal",
            rounds=ROUNDS,
            seed=0,
            reporter=Reporter(is_quiet=True),
        )
    return found["model"].latency_ms


if __name__ == "__main__":
    main()
