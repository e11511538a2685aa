"""Which ranks of channels lose the least: slices of a trained ResNet-20, not trained on, by how they were ranked.

    python benchmarks/channel_ranks.py --data-root DIR --weights runs/head_to_head/resnet20.safetensors

Ranks by the squares of weights, of weights times gradients (Molchanov et al. 2019, equation 8: of the mean, and of the
root mean square), and at random. BatchNorm is recalibrated; `benchmarks/head_to_head.py` trains the network.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from resnet20 import build
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from hwnas.dataflow import Batches, load_dataset
from hwnas.evaluators.supernet import recalibrate
from search_spaces import Architecture, SpaceSpec
from search_spaces.traced.importance import ranked_units
from search_spaces.traced.space import TracedSpace
from search_spaces.traced.trace import trace

Values = Mapping[str, torch.Tensor]
NUM_BATCHES = 8
"""Batches of 128 images that give gradients, and statistics."""


def main() -> None:
    """Print the accuracies of the same slices for each way of ranking."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1500)
    options = parser.parse_args()
    dataset = load_dataset("cifar10", options.data_root)
    module = build()
    module.load_state_dict(load_file(options.weights))
    network, spec = trace(module.eval(), (3, 32, 32)), SpaceSpec(name="resnet20", input_size=32, num_classes=10)
    space = TracedSpace(spec, network)
    train = Batches.of(dataset, dataset.train, 128).shuffled(torch.Generator().manual_seed(0))
    batches = list(islice(train, NUM_BATCHES))
    chosen = np.random.default_rng(1).permutation(len(dataset.test))[: options.images]
    test = list(Batches.of(dataset, dataset.test.subset(chosen), 250).in_order())
    architectures = list(_slices(space))
    for name, values in _ways(module, network.values, batches).items():
        ranks = space.elastic.ranks if values is None else ranked_units(space.elastic.sliced, values)
        if values is None:
            ranks = tuple(tuple(np.random.default_rng(0).permutation(own).tolist()) for own in ranks)
        supernet, found = TracedSpace(spec, network, None, ranks).supernet(), []
        for architecture in architectures:
            subnet = supernet.subnet(architecture)
            recalibrate(subnet, [x_NCHW for x_NCHW, _ in batches])
            found.append(_accuracy(subnet, test))
        print(f"{name}: mean {np.mean(found):.1%}, each {', '.join(f'{a:.1%}' for a in found)}", flush=True)


def _slices(space: TracedSpace) -> Iterator[Architecture]:
    """Yield two networks of all widths alike, and four of random widths of the first three choices."""
    alike, rng = space.scaled_alike(), np.random.default_rng(3)
    yield from (alike[len(alike) // 4], alike[len(alike) // 2])
    is_width = np.array([decision.name.endswith(".width") for decision in space.decisions])
    most = np.array([len(decision.choices) for decision in space.decisions])
    for _ in range(4):
        yield tuple(np.where(is_width, rng.integers(np.minimum(most, 3)), 0).tolist())


def _ways(
    module: nn.Module, values: Values, batches: list[tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, Values | None]:
    """Return what channels are ranked by the squares of, by name; None for ranks at random."""
    parameters = dict(module.named_parameters())
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    squares = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for x_NCHW, targets_N in batches:
        loss = functional.cross_entropy(module(x_NCHW), targets_N)
        for name, gradient in zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True):
            sums[name] += gradient
            squares[name] += gradient**2
    return {
        "weights": values,
        "weights times mean gradients": {n: v * sums.get(n, 1) for n, v in values.items()},
        "weights times root mean square gradients": {n: v * squares[n].sqrt() for n, v in values.items() if n in sums},
        "at random": None,
    }


def _accuracy(subnet: nn.Module, test: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    with torch.no_grad():
        right = sum(int((subnet(x_NCHW).argmax(1) == targets_N).sum()) for x_NCHW, targets_N in test)
    return right / sum(len(targets_N) for _, targets_N in test)


if __name__ == "__main__":
    main()
