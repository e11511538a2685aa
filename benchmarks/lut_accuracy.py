"""Sum of blocks against whole networks measured in the same interleaved rounds.

python benchmarks/lut_accuracy.py --space fbnet-s --input-size 224 --networks 20
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from hwnas.profiling import onnx_cache
from lut import plan_blocks
from profilers import Model, Profiler
from profilers.device import adjusted, find_device
from profilers.estimate import estimate_ms, split_half_error
from search_spaces import Architecture, SearchSpace, SpaceSpec, make_space
from search_spaces.onnx_export import export_block, export_module


def main() -> None:
    """Measure blocks and random networks, and print how far the sums are off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="fbnet-s")
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    classes = 1000 if options.input_size > 64 else 10
    space = make_space(SpaceSpec(name=options.space, input_size=options.input_size, num_classes=classes))
    device = adjusted(find_device(options.device), threads=options.threads)
    rng = np.random.default_rng(options.seed)
    networks = [space.sample(rng) for _ in range(options.networks)]
    blocks = plan_blocks(space, rounds=options.rounds).blocks

    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        models = [Model(key=b.key, path=export_block(b, onnx_cache(), batch=device.batch)) for b in blocks]
        models += [export_network(space, a, Path(folder), device.batch) for a in networks]
        exported = time.monotonic()
        profiler = Profiler(device=device, rounds=options.rounds, seed=options.seed)
        measurements = profiler.measure(models, Path(folder) / "journal").measurements
        measured = time.monotonic()

    latency_ms = estimate_ms(measurements)
    found_ms = np.array([latency_ms[str(a)] for a in networks])
    sums_ms = np.array([sum(latency_ms.get(b.key, 0.0) for b in space.blocks(a)) for a in networks])
    errors = sums_ms / found_ms - 1
    print(f"{space.spec} on {device.name}, {device.threads} threads: {len(blocks)} blocks, {len(networks)} networks")
    print(f"export {exported - started:.1f} s, open and measure {options.rounds} rounds {measured - exported:.1f} s")
    print(f"networks take {found_ms.min():.3f} to {found_ms.max():.3f} ms")
    print(f"Kendall tau {kendalltau(sums_ms, found_ms).statistic:.3f}")
    print(
        f"MAPE {np.abs(errors).mean():.2%}, bias {errors.mean():+.2%}, within 5 %: {(abs(errors) <= 0.05).mean():.0%}"
    )
    print(
        f"repeatability of the networks (odd against even rounds) {split_half_error(measurements[len(blocks) :]):.2%}"
    )


def export_network(space: SearchSpace, architecture: Architecture, folder: Path, batch: int) -> Model:
    """A whole network with random weights."""
    path = folder / ("-".join(map(str, architecture)) + ".onnx")
    spec = space.spec
    torch.manual_seed(0)
    shape = (batch, spec.in_channels, spec.input_size, spec.input_size)
    export_module(space.build(architecture), path, input_shape=shape)
    return Model(key=str(architecture), path=path)


if __name__ == "__main__":
    main()
