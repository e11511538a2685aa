"""Mixed precision of ResNet-20 on CIFAR-10: how well latencies are predicted, and what the front is beside others.

The network is trained, or read from `--weights`; int8 and mixed precision are made as `hwnas export --mixed` makes
them. Then 30 random assignments of int8 to its blocks, which the predictions were not fitted to, are told with their
predicted and their measured latency, and the front beside float, int8 in every block, the int8 model of a bundle and
what ONNX Runtime's `quantize_static` writes by default. Models of the last table are timed in the same rounds, by
images of one; accuracy is that on all test images.

    python benchmarks/mixed_precision.py --data-root DIR --out runs/mixed --epochs 20
    python benchmarks/mixed_precision.py --data-root DIR --out runs/mixed --weights runs/mixed/resnet20.safetensors
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import arguments
import numpy as np
import torch
from resnet20 import ResNet20
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from hwnas.artifacts import AssignedPrecisions, MixedPrecision
from hwnas.cli.ranges import RANGES
from hwnas.dataflow import Batches, Dataset, load_dataset
from hwnas.errors import RequestError
from hwnas.export.mixed import MOST_BLOCKS, Trial, choose_precisions
from hwnas.export.quantizing import NUM_CALIBRATION, NUM_SELECTION
from hwnas.measured import Measured
from hwnas.profiling import measure_networks
from hwnas.progress import Reporter
from onnx_models.best_int8 import quantize_network
from onnx_models.export import export_module
from onnx_models.mixed_int8 import MixedNetwork
from onnx_models.session import OnnxNetwork
from profilers.device import find_device

NAMES = {"model": "float", "int8": "int8 model of a bundle", "defaults": "quantize_static's defaults"}

Network = Callable[[torch.Tensor], torch.Tensor]


def main() -> None:
    """Train, quantize, measure and print."""
    options = _options()
    find_device(options.device)  # before an hour of training
    if options.weights is not None and not options.weights.is_file():
        raise RequestError(f"expected a file of weights, got {options.weights}; leave --weights out to train a network")
    options.out.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset("cifar10", options.data_root)
    module = _trained(dataset, options)
    folder = options.out / "models"
    folder.mkdir(exist_ok=True)
    paths = {name: folder / f"{name}.onnx" for name in NAMES}
    export_module(module, paths["model"], input_shapes=[(1, 3, 32, 32)])
    order = np.random.default_rng(options.seed).permutation(len(dataset.train))
    chosen = dataset.train.subset(order[:NUM_CALIBRATION])
    others = dataset.train.subset(order[NUM_CALIBRATION : NUM_CALIBRATION + NUM_SELECTION])
    images = [x.contiguous() for x, _ in Batches.of(dataset, chosen, 1).in_order()]
    selection = list(Batches.of(dataset, others, 250).in_order())
    drop = options.max_drop / 100
    quantization = quantize_network(
        paths["model"], paths["int8"], images, lambda network: _accuracy(network, selection), max_drop=drop
    )
    print(f"int8: {quantization.method} calibration, {len(quantization.float_nodes)} layers in float", flush=True)
    _write_defaults(paths["model"], paths["defaults"], images)
    network = MixedNetwork(paths["model"], folder, images, method=quantization.method, most=MOST_BLOCKS)
    trial = Trial(
        images=images,
        score=lambda network: _accuracy(network, selection),
        measured=lambda files, *, is_median: _measured(
            files, options, "medians.journal" if is_median else "finalists.journal"
        ),
        say=lambda line: print(line, flush=True),
    )
    rng = np.random.default_rng(options.seed)
    found, path = choose_precisions(network, trial, max_drop=drop, rng=rng, num_held_out=options.assignments)
    _print_predictions(found)
    ends = {"every block in int8": network.model((True,) * len(found.blocks))}
    ends |= {f"front: {p.precisions}": network.model(tuple(c == "i" for c in p.precisions)) for p in _thinned(found)}
    files = {**{NAMES[name]: file for name, file in paths.items()}, **ends, f"chosen: {found.chosen}": path}
    latencies = _measured(files, options, "front.journal")
    tests = list(Batches.of(dataset, dataset.test, 250).in_order())
    _print_front(files, latencies, {name: _accuracy(OnnxNetwork(file), tests) for name, file in files.items()})
    print(f"chosen for a drop of {options.max_drop:g} points: {found.reason}")
    (options.out / "mixed.json").write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=arguments.folder, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/mixed"))
    parser.add_argument("--weights", type=Path, help="of a trained network, rather than training one")
    parser.add_argument("--epochs", type=arguments.whole(), default=20)
    parser.add_argument("--train-images", type=arguments.whole(), help="only so many, for a try")
    parser.add_argument(
        "--assignments", type=arguments.whole(0), default=30, help="random ones that predictions are compared on"
    )
    parser.add_argument(
        "--max-drop", type=arguments.number(*RANGES["max_drop"]), default=1.0, help="points of accuracy"
    )
    parser.add_argument("--rounds", type=arguments.whole(2), default=80)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=arguments.whole(0), default=0)
    return parser.parse_args()


def _trained(dataset: Dataset, options: argparse.Namespace) -> nn.Module:
    torch.manual_seed(options.seed)
    module = ResNet20()
    if options.weights is not None:
        module.load_state_dict(load_file(options.weights))
        return module.eval()
    train = dataset.train if options.train_images is None else dataset.train.subset(np.arange(options.train_images))
    batches = Batches.of(dataset, train, 128)
    steps = options.epochs * batches.num_shuffled
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    for epoch in range(options.epochs):
        for x_NCHW, targets_N in batches.shuffled(torch.Generator().manual_seed(epoch)):
            optimizer.zero_grad()
            loss = functional.cross_entropy(module(x_NCHW), targets_N)
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {options.epochs}: loss {loss.item():.3f}", flush=True)
    save_file(module.state_dict(), options.out / "resnet20.safetensors")
    return module.eval()


def _accuracy(network: Network, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    right = [network(x_NCHW).argmax(dim=1) == targets_N for x_NCHW, targets_N in batches]
    return float(torch.cat(right).float().mean())


def _write_defaults(path: Path, target: Path, images: list[torch.Tensor]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        """Gives the calibration images, one after the other."""

        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Return the next image, None after the last."""
            image = next(self._images, None)
            return None if image is None else {"input": image.numpy()}

    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(path, target, Reader())


def _measured(files: Mapping[str, Path], options: argparse.Namespace, journal: str) -> dict[str, Measured]:
    (options.out / journal).unlink(missing_ok=True)
    return measure_networks(
        files,
        find_device(options.device),
        options.out / journal,
        rounds=options.rounds,
        seed=options.seed,
        reporter=Reporter(is_quiet=True),
    )


def _thinned(found: MixedPrecision, most: int = 10) -> list[AssignedPrecisions]:
    """Return some points of the front, evenly spread, the fastest and the most accurate among them."""
    places = np.linspace(0, len(found.front) - 1, min(most, len(found.front))).round().astype(int)
    return [found.front[place] for place in places]


def _print_predictions(found: MixedPrecision) -> None:
    print(f"\n{len(found.held_out)} random assignments: f in float, i in int8")
    print("| blocks | predicted ms | measured ms | error |\n| --- | --- | --- | --- |")
    for row in found.held_out:
        assert row.measured_ms is not None
        error = row.predicted_ms / row.measured_ms - 1
        print(f"| {row.precisions} | {row.predicted_ms:.4f} | {row.measured_ms:.4f} | {error:+.1%} |")
    print(f"\n{found.certificate}")
    print(f"each stretch in float after the first: {found.further_stretch_ms:+.4f} ms besides")
    print("\n| block | more ms in float, all else in int8 | change of the outputs in int8 |\n| --- | --- | --- |")
    alone = {first: ms for first, after, ms in found.float_stretches_ms if after == first + 1}
    for number, (name, loss) in enumerate(zip(found.blocks, found.losses, strict=True)):
        print(f"| {name} | {alone[number]:+.4f} | {loss:.2e} |")


def _print_front(files: Mapping[str, Path], latencies: Mapping[str, Measured], accuracies: Mapping[str, float]) -> None:
    print("\n| model | measured ms | of float's | test accuracy |\n| --- | --- | --- | --- |")
    float_ms = latencies["float"].latency_ms
    for name in sorted(files, key=lambda name: latencies[name].latency_ms):
        ms = latencies[name].latency_ms
        print(f"| {name} | {ms:.4f} | {ms / float_ms:.1%} | {accuracies[name]:.2%} |")


if __name__ == "__main__":
    with arguments.errors_in_a_line():
        main()
