"""A supernet's training step on one path against the same subnet's own step.

python benchmarks/supernet_step.py --space nasbench-macro --input-size 32
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hwnas.config import TrainingConfig
from hwnas.criteria import SmoothedCrossEntropy
from hwnas.training.trainer import Trainer, _make_optimizer
from search_spaces import SpaceSpec, make_space


def main() -> None:
    """Print the ratio of both steps, taken alternately."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="nasbench-macro")
    parser.add_argument("--input-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--paths", type=int, default=4)
    options = parser.parse_args()

    space = make_space(SpaceSpec(name=options.space, input_size=options.input_size, num_classes=10))
    supernet = space.supernet()
    shape = (options.batch_size, 3, options.input_size, options.input_size)
    batch = (
        torch.randn(shape).to(memory_format=torch.channels_last),
        torch.randint(0, 10, (options.batch_size,)),
    )
    ratios = []
    rng = np.random.default_rng(0)
    for _ in range(options.paths):
        architecture = space.sample(rng)
        shared = steps(supernet, batch, lambda x, a=architecture: supernet(x, a))
        network = space.build(architecture)
        own = steps(network, batch, network)
        for _ in range(2):  # optimiser state is made in the first steps
            next(shared), next(own)
        pairs = [(next(shared), next(own)) for _ in range(options.steps)]
        shared_s, own_s = np.median(np.array(pairs), axis=0)
        ratios.append(shared_s / own_s)
        name = "-".join(map(str, architecture))
        print(f"{name}: supernet {shared_s * 1e3:.1f} ms, standalone {own_s * 1e3:.1f} ms, ratio {ratios[-1]:.3f}")
    print(f"{space.spec}, batch {options.batch_size}: median ratio {np.median(ratios):.3f}")


def steps(module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], forward: object) -> Iterator[float]:
    """Seconds of one training step after the other, by the project's own trainer."""
    config = TrainingConfig(epochs=1)
    module.to(memory_format=torch.channels_last).train()
    optimizer = _make_optimizer(module, config)
    criterion = SmoothedCrossEntropy(label_smoothing=0.1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            module=module,
            config=config,
            batches=None,
            accumulate=None,
            checkpoint=Path(folder) / "none",
            name="step",
            seed=0,
        )
        while True:
            started = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            criterion(forward(batch[0]), batch[1]).backward()
            trainer._step(optimizer)
            yield time.perf_counter() - started


if __name__ == "__main__":
    main()
