"""Networks of random pieces: whatever is composed, what its space promises holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from traced_checks import (
    drawn,
    lively,
    require_equal_costs,
    require_filled,
    require_promised,
    require_same_forms,
    require_traced,
    space_of,
)
from traced_zoo import (
    Bottleneck,
    ConvNeXtBlock,
    DenseBlock,
    Gated,
    Inception,
    InPlace,
    InvertedResidual,
    Residual,
    RunningSum,
    Shared,
    ShuffleUnit,
    SpatialGate,
    classifier,
    conv_bn_relu,
)

from search_spaces.traced.ladder import Pins

Piece = tuple[nn.Module, int]
"""A module, and how many channels it gives."""

PIECES: dict[str, Callable[[int], Piece]] = {
    "conv": lambda n: (conv_bn_relu(n, 24, 3), 24),
    "pointwise": lambda n: (conv_bn_relu(n, 16, 1), 16),
    "grouped": lambda n: (conv_bn_relu(n, 16, 3, groups=4), 16),
    "depthwise": lambda n: (conv_bn_relu(n, n, 5, groups=n), n),
    "group norm": lambda n: (nn.GroupNorm(4, n), n),
    "own norm of groups": lambda n: (nn.GroupNorm(n, n, affine=False), n),
    "residual": lambda n: (Residual(n, n), n),
    "projected": lambda n: (Residual(n, 32, 1, "project"), 32),
    "bottleneck": lambda n: (Bottleneck(n, 8), n),
    "inverted": lambda n: (InvertedResidual(n, 16), n),
    "shuffle": lambda n: (ShuffleUnit(n), n),
    "shuffled": lambda n: (nn.ChannelShuffle(4), n),
    "inception": lambda n: (Inception(n), 48),
    "dense": lambda n: (DenseBlock(n, 8, 2), n + 16),
    "convnext": lambda n: (ConvNeXtBlock(n), n),
    "gate": lambda n: (SpatialGate(), n),
    "shared": lambda n: (Shared(n), n),
    "in place": lambda n: (InPlace(n), n),
    "gated": lambda n: (Gated(n), n),
    "running sum": lambda n: (RunningSum(), n),
    "up and down": lambda n: (nn.Sequential(nn.AvgPool2d(2), nn.ConvTranspose2d(n, 16, 2, 2)), 16),
    "pixels": lambda n: (nn.Sequential(nn.PixelUnshuffle(2), nn.PixelShuffle(2)), n),
    "prelu": lambda n: (nn.PReLU(n), n),
}


def _composed(names: list[str], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, num = nn.Sequential(), 16
        for name in names:
            piece, num = PIECES[name](num)
            body.append(piece)
        return lively(classifier(body, num), (3, 8, 8), seed)


def _require_right(names: list[str], step: int, seed: int, folder: object = None) -> None:
    module = _composed(names, seed)
    space = space_of(module, (3, 8, 8), Pins(step=step, shares=(1.0, 0.75, 0.5)))
    require_traced(module, space)
    supernet = space.supernet().eval()
    for number, architecture in enumerate(drawn(space, 3, seed)):
        require_same_forms(space, supernet, architecture, folder if number == 2 else None)  # type: ignore[arg-type]
        require_equal_costs(space, architecture)
        require_filled(space.slice_of(architecture).graph)
        assert space.blocks(space.canonical(architecture)) == space.blocks(architecture)
    for block in space.candidates[:: max(1, len(space.candidates) // 4)]:
        require_promised(block, folder if block is space.candidates[-1] else None)  # type: ignore[arg-type]


NETWORKS = {
    "names": st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=3),
    "step": st.sampled_from([1, 4, 8]),
    "seed": st.integers(0, 3),
}


@given(**NETWORKS)
@settings(max_examples=4)
def test_random_networks_are_right(names: list[str], step: int, seed: int) -> None:
    _require_right(names, step, seed)


@pytest.mark.slow
@given(**NETWORKS | {"names": st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=6)})
@settings(max_examples=40)
def test_many_random_networks_are_right(
    names: list[str], step: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _require_right(names, step, seed, tmp_path_factory.mktemp("onnx"))
