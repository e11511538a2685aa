"""A network's training step in float32 and in bfloat16, as it is and compiled: where compile and mixed_precision pay.

python benchmarks/training_step.py --space nasbench-macro ofa-mobilenetv3 --input-size 32
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from hwnas.config import RetrainConfig
from hwnas.training.compiling import compiled
from hwnas.training.optimizer import make_optimizer
from search_spaces import SpaceSpec, make_space

VARIANTS = {
    "float32": (False, False),
    "bfloat16": (True, False),
    "float32, compiled": (False, True),
    "bfloat16, compiled": (True, True),
}
"""Whether steps compute in bfloat16, and whether the network is compiled."""


def main() -> None:
    """Print the median time of a step of a random network of each space, and the time of the first one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", nargs="+", default=["nasbench-macro"])
    parser.add_argument("--input-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10, help="of one step of every variant in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the network that is drawn")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {options.batch_size}")
    for name in options.space:
        space = make_space(SpaceSpec(name=name, input_size=options.input_size, num_classes=10))
        torch.manual_seed(0)
        network = space.build(space.sample(np.random.default_rng(options.seed)))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x_NCHW = torch.randn(options.batch_size, 3, options.input_size, options.input_size)
        batch = (x_NCHW.to(memory_format=torch.channels_last), torch.arange(options.batch_size) % 10)
        _report(name, network, batch, options.rounds)


def _report(name: str, network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], rounds: int) -> None:
    steps = {label: _step(network, batch, *variant) for label, variant in VARIANTS.items()}
    first_s = {label: _timed(step) for label, step in steps.items()}
    times_s = np.array([[_timed(step) for step in steps.values()] for _ in range(rounds)])
    medians_ms = dict(zip(steps, np.median(times_s, axis=0) * 1e3, strict=True))
    for label, median_ms in medians_ms.items():
        share = median_ms / medians_ms["float32"]
        print(f"{name}: {label}: {median_ms:.1f} ms a step ({share:.2f} of float32), the first {first_s[label]:.1f} s")


def _step(
    network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], is_mixed: bool, is_compiled: bool
) -> Callable[[], None]:
    config = RetrainConfig(compile=is_compiled)
    forward, optimizer = compiled(network, config), make_optimizer(network, config)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_mixed):
            nn.functional.cross_entropy(forward(batch[0]), batch[1]).backward()
        optimizer.step()

    return step


def _timed(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
