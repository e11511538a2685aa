"""SPOS's search space (Guo et al. 2020, Single Path One-Shot Neural Architecture Search with Uniform Sampling)."""

from __future__ import annotations

from typing import Any

from search_spaces.block import MapBlock
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.head import Head
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.shuffle import ShuffleUnit, ShuffleXceptionUnit
from search_spaces.chain import ChainSpace
from search_spaces.space import SpaceSpec

_STAGES = ((64, 4), (160, 4), (320, 8), (640, 4))
"""Output channels and layers; the first layer of every stage has stride 2."""


def spos(spec: SpaceSpec) -> ChainSpace:
    """20 layers of 4 choices: ShuffleNetV2 units with k 3/5/7, and the xception-like unit.

    At small inputs the stem keeps the resolution; the first unit always strides, since units of stride 1 cannot change
    channels.
    """
    channels = make_divisible(16 * spec.width)
    stem = ConvBnAct(
        in_channels=spec.in_channels,
        out_channels=channels,
        input_size=spec.side,
        kernel=3,
        stride=spec.early_stride,
    )
    size = stem.output_size
    layers: list[list[MapBlock]] = []
    for out, num_layers in _STAGES:
        for position in range(num_layers):
            shape: dict[str, Any] = {
                "in_channels": channels,
                "out_channels": make_divisible(out * spec.width),
                "input_size": size,
                "stride": 2 if position == 0 else 1,
            }
            layers.append([*(ShuffleUnit(**shape, kernel=k) for k in (3, 5, 7)), ShuffleXceptionUnit(**shape)])
            channels, size = layers[-1][0].out_channels, layers[-1][0].output_size
    head = Head(
        in_channels=channels, out_channels=spec.num_classes, input_size=size, hidden=make_divisible(1024 * spec.width)
    )
    return ChainSpace(spec, stem=[stem], layers=layers, choice_names=["k3", "k5", "k7", "xception"], head=[head])
