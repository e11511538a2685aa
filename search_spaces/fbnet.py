"""FBNet's search space (Wu et al. 2019, FBNet: Hardware-Aware Efficient ConvNet Design, table 1 and 2)."""

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

_STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
"""Output channels, layers, stride of the first layer."""

_CHOICES: dict[str, dict[str, Any]] = {
    "k3_e1": {"kernel": 3, "expansion": 1},
    "k3_e1_g2": {"kernel": 3, "expansion": 1, "groups": 2},
    "k3_e3": {"kernel": 3, "expansion": 3},
    "k3_e6": {"kernel": 3, "expansion": 6},
    "k5_e1": {"kernel": 5, "expansion": 1},
    "k5_e1_g2": {"kernel": 5, "expansion": 1, "groups": 2},
    "k5_e3": {"kernel": 5, "expansion": 3},
    "k5_e6": {"kernel": 5, "expansion": 6},
}


def fbnet_s(spec: SpaceSpec) -> ChainSpace:
    """22 layers of 9 choices and the small head of 1504 channels."""
    return _fbnet(spec, head_channels=1504)


def fbnet_l(spec: SpaceSpec) -> ChainSpace:
    """Layers of fbnet-s with the larger head of 1984 channels."""
    return _fbnet(spec, head_channels=1984)


def _fbnet(spec: SpaceSpec, *, head_channels: int) -> ChainSpace:
    channels, size = make_divisible(16 * spec.width), spec.side
    stem = ConvBnAct(
        in_channels=spec.in_channels, out_channels=channels, input_size=size, kernel=3, stride=spec.early_stride
    )
    size = stem.output_size
    layers: list[list[MapBlock]] = []
    for stage, (out, num_layers, first_stride) in enumerate(_STAGES):
        for position in range(num_layers):
            stride = first_stride if position == 0 else 1
            if stage == 1:
                stride = min(stride, spec.early_stride)
            shape: dict[str, Any] = {
                "in_channels": channels,
                "out_channels": make_divisible(out * spec.width),
                "input_size": size,
                "stride": stride,
            }
            layers.append([*(MBConv(**shape, **choice) for choice in _CHOICES.values()), Skip(**shape)])
            channels, size = layers[-1][-1].out_channels, layers[-1][-1].output_size
    head = Head(
        in_channels=channels,
        out_channels=spec.num_classes,
        input_size=size,
        hidden=make_divisible(head_channels * spec.width),
    )
    return ChainSpace(spec, stem=[stem], layers=layers, choice_names=[*_CHOICES, "skip"], head=[head])
