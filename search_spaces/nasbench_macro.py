"""NAS-Bench-Macro's search space (Su et al. 2021, Prioritized Architecture Sampling with Monto-Carlo Tree Search)."""

from __future__ import annotations

from typing import Any

from search_spaces.block import MapBlock
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.head import Head
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.skip import Skip
from search_spaces.chain import ChainSpace
from search_spaces.space import SpaceSpec

_STAGES = ((64, 2), (128, 3), (256, 3))
"""Output channels and layers; the first layer of every stage has stride 2."""


def nasbench_macro(spec: SpaceSpec) -> ChainSpace:
    """8 layers of 3 choices: identity, MBConv k3 e3, MBConv k5 e6; every one of the 6,561 was trained on CIFAR-10.

    Nothing here strides early, so small inputs change nothing.
    """
    channels, size = make_divisible(32 * spec.width), spec.side
    stem = ConvBnAct(in_channels=spec.in_channels, out_channels=channels, input_size=size, kernel=3)
    layers: list[list[MapBlock]] = []
    for out, num_layers in _STAGES:
        for position in range(num_layers):
            shape: dict[str, Any] = {
                "in_channels": channels,
                "out_channels": make_divisible(out * spec.width),
                "input_size": size,
                "stride": 2 if position == 0 else 1,
            }
            layers.append(
                [Skip(**shape), MBConv(**shape, kernel=3, expansion=3), MBConv(**shape, kernel=5, expansion=6)]
            )
            channels, size = layers[-1][0].out_channels, layers[-1][0].output_size
    head = Head(
        in_channels=channels,
        out_channels=spec.num_classes,
        input_size=size,
        hidden=make_divisible(1280 * spec.width),
    )
    return ChainSpace(spec, stem=[stem], layers=layers, choice_names=["identity", "k3_e3", "k5_e6"], head=[head])
