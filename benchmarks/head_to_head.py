"""A trained ResNet-20 taken to shares of its measured time: hwnas beside what people do by hand and Torch-Pruning.

    python benchmarks/head_to_head.py --data-root DIR --out runs/head --seeds 3
    python benchmarks/head_to_head.py --data-root DIR --out runs/head --seeds 3 --without-torch-pruning

Trains the network once (what is there is continued), then for each seed: one `hwnas search` for each budget with one
supernet for all, which gives a winner, all widths scaled alike and a random network; and Torch-Pruning's magnitude
pruner (global, round_to 1 and 8; needs `pip install torch-pruning`), whose share is bisected once for each budget to
the same share of the original's time, both timed in the same rounds. Everything is trained on for as many epochs, with
distillation from the original. At the end all models are timed once more in the same rounds. Prints a line for each;
--json writes the record.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
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

ROUNDS = 20
NUM_SHARES, NUM_BISECTIONS, SHARE_STEP = 10, 4, 0.008
"""Shares that are tried one after the other, then halvings of the step between two of them, down to about that step."""


def main() -> None:
    """Train, search, prune, time all together, and print."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset("cifar10", options.data_root)
    if options.train_images:
        dataset = _limited(dataset, options.train_images)
    weights = options.out / "resnet20.safetensors"
    original = _trained(dataset, weights, options)
    record: dict[str, Any] = {"original": _accuracy(original, dataset, options.accelerator), "rows": []}
    print(f"original: test accuracy {record['original']:.2%}", flush=True)
    cut = {} if options.without_torch_pruning else _bisected(original, options)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        record["rows"] += _searched(weights, options, seed)
        _write(options.json, record)
        for (budget, round_to), pruned in cut.items():
            row = pruned.row | {"seed": seed, "budget": budget, "method": f"torch-pruning round_to {round_to}"}
            record["rows"].append(row | _fine_tuned(pruned.module, original, dataset, options, seed))
            _show(record["rows"][-1])
            _write(options.json, record)
    _time_together(record["rows"], original, options)
    _write(options.json, record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A network that Torch-Pruning made, not yet trained, and what is known of it."""

    module: nn.Module
    row: dict[str, Any]


def _write(path: Path | None, record: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/head_to_head"))
    parser.add_argument("--epochs", type=int, default=40, help="of the original network")
    parser.add_argument("--budgets", default="60%,40%", help="in per cent of the original's time")
    parser.add_argument("--supernet-epochs", type=int, default=5)
    parser.add_argument("--retrain-epochs", type=int, default=10)
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
    """Return rows for the winner, what is scaled alike and a random network under each budget; one supernet for all."""
    budgets, rows = options.budgets.split(","), []
    first = options.out / f"seed{seed}-{budgets[0].rstrip('%')}"
    for budget in budgets:
        out = options.out / f"seed{seed}-{budget.rstrip('%')}"
        command = [sys.executable, "-m", "hwnas", "search", "--max-latency", budget, "--out", str(out)]
        command += ["--json", "--trust-code"]
        command += ["--from", str(first)] if out != first else _begun(weights, options, seed)
        started = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"hwnas search ended with {done.returncode}")
        table = options.out / "lut.json"
        if not table.exists():
            table.write_bytes((out / "lut.json").read_bytes())
        summary = json.loads(done.stdout)
        found = [("hwnas", summary, Path(summary["onnx"]))]
        found += [(n, r, Path(summary["onnx"]).with_name(f"{n}.onnx")) for n, r in summary["references"].items()]
        for name, network, path in found:
            row = _row(network) | {"method": name, "seed": seed, "budget": budget, "onnx": str(path)}
            rows.append(row | {"tries": 1, "seconds": time.monotonic() - started})
            _show(rows[-1])
    return rows


def _begun(weights: Path, options: argparse.Namespace, seed: int) -> list[str]:
    """Return the flags of the first run of a seed."""
    flags = ["--model", f"{Path(__file__).parent / 'resnet20.py'}:build", "--weights", str(weights)]
    flags += ["--data", "cifar10", "--data-root", str(options.data_root), "--seed", str(seed)]
    flags += ["--epochs", str(options.supernet_epochs), "--retrain-epochs", str(options.retrain_epochs)]
    flags += ["--accelerator", options.accelerator]
    table = options.out / "lut.json"
    flags += ["--lut", str(table)] if table.exists() else []
    flags += ["--train-images", str(options.train_images)] if options.train_images else []
    for setting in [f"{name}.batch_size={options.batch_size}" for name in ("supernet", "retrain")] + options.set:
        flags += ["--set", setting]
    return flags


def _row(network: dict[str, Any]) -> dict[str, Any]:
    return {
        "budget_ms": network["max_latency_ms"],
        "measured_ms": network["measured_ms"],
        "is_kept": network["budget_kept"],
        "accuracy": network["test_accuracy"],
        "params": network["params"],
        "macs": network["macs"],
    }


def _show(row: dict[str, Any]) -> None:
    print(
        f"seed {row['seed']}, {row['budget']}, {row['method']}: {row['measured_ms']:.4g} of {row['budget_ms']:.4g} ms, "
        f"kept {row['is_kept']}, test accuracy {row['accuracy']:.2%}, {row['tries']} tries",
        flush=True,
    )


def _bisected(original: nn.Module, options: argparse.Namespace) -> dict[tuple[str, int], Pruned]:
    """Return what Torch-Pruning makes of the network for each budget and `round_to`, where some share keeps it."""
    found = {}
    for budget in options.budgets.split(","):
        for round_to in (1, 8):
            pruned = _bisect(original, float(budget.rstrip("%")) / 100, round_to, options.out)
            if pruned is None:
                print(f"{budget}: torch-pruning round_to {round_to} keeps it with no share", flush=True)
            else:
                found[budget, round_to] = pruned
    return found


def _bisect(original: nn.Module, limit: float, round_to: int, folder: Path) -> Pruned | None:
    """Return the network with the smallest share cut that takes at most `limit` of the original's time.

    More cut is not always faster: where rounding would leave a layer without channels, it keeps all of them. So the
    first of ten shares that keeps the limit is found, and then refined.
    """
    low, high, best, tries = 0.0, 0.0, None, 0
    while tries < NUM_SHARES + NUM_BISECTIONS:
        share = (low + high) / 2 if best else (tries + 1) / (NUM_SHARES + 1)
        module = _prune(original, share, round_to)
        ms, original_ms = _measured_ms([module, original])
        tries += 1
        if ms <= limit * original_ms:
            high, best = share, (module, ms, original_ms)
        else:
            low = share
        if best is None and tries == NUM_SHARES:
            return None
        if best is not None and high - low < SHARE_STEP:
            break
    assert best is not None
    module, ms, original_ms = best
    path = folder / f"pruned-{limit:.2f}-{round_to}.onnx"
    _export(module, path)
    row: dict[str, Any] = {"budget_ms": limit * original_ms, "measured_ms": ms, "is_kept": True, "tries": tries}
    return Pruned(module=module, row=row | {"params": sum(p.numel() for p in module.parameters()), "onnx": str(path)})


def _fine_tuned(
    pruned: nn.Module, original: nn.Module, dataset: Dataset, options: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """Return the accuracy of a pruned network that is trained on for as long as a winner and its supernet together."""
    started = time.monotonic()
    epochs = options.supernet_epochs + options.retrain_epochs
    batches = Batches.of(dataset, dataset.train, options.batch_size)
    module = copy.deepcopy(pruned)
    recalibrate(module, calibration_batches(batches, 16, torch.Generator().manual_seed(seed)))
    module = module.to(options.accelerator).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher = copy.deepcopy(original).to(options.accelerator).eval()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
    for epoch in range(epochs):
        rates = _cosine(0.01, epoch, epochs, batches.num_shuffled)
        _epoch(module, optimizer, batches, rates, torch.Generator().manual_seed(1000 * seed + epoch), teacher)
    return {
        "accuracy": _accuracy(module, dataset, options.accelerator),
        "seconds": time.monotonic() - started,
    }


def _time_together(rows: list[dict[str, Any]], original: nn.Module, options: argparse.Namespace) -> None:
    """Time the models of all rows in the same rounds, and print what each takes of the original's time."""
    paths = {row["onnx"]: Path(row["onnx"]) for row in rows if Path(row["onnx"]).exists()}
    first = options.out / "original.onnx"
    _export(original, first)
    found = _timed({"original": first, **paths})
    for row in rows:
        if row["onnx"] in found:
            row["share"] = found[row["onnx"]] / found["original"]
            print(
                f"seed {row['seed']}, {row['budget']}, {row['method']}: {row['share']:.1%} of the original's time, "
                f"test accuracy {row['accuracy']:.2%}"
            )


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


def _measured_ms(modules: Sequence[nn.Module]) -> list[float]:
    """Return what modules take in milliseconds, timed in the same rounds."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {str(i): Path(folder) / f"{i}.onnx" for i in range(len(modules))}
        for module, path in zip(modules, paths.values(), strict=True):
            _export(module, path)
        return list(_timed(paths).values())


def _export(module: nn.Module, path: Path) -> None:
    export_module(module, path, input_shapes=[(1, 3, 32, 32)])


def _timed(paths: Mapping[str, Path]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        found = measure_networks(
            paths,
            find_device("cpu", None),
            Path(folder) / "journal",
            rounds=ROUNDS,
            seed=0,
            reporter=Reporter(is_quiet=True),
        )
    return {name: found[name].latency_ms for name in paths}


if __name__ == "__main__":
    main()
