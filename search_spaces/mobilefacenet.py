"""A search space around MobileFaceNet (Chen et al. 2018, MobileFaceNets: Efficient CNNs for Face Verification)."""

from __future__ import annotations

from typing import Any

from search_spaces.block import MapBlock
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.embedding import Embedding, GlobalDepthwise
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.skip import Skip
from search_spaces.chain import ChainSpace
from search_spaces.space import SpaceSpec

_STAGES = ((64, 5), (128, 7), (128, 3))
"""Output channels and layers; the first layer of every stage has stride 2."""

_CHOICES = {f"k{k}_e{e}": {"kernel": k, "expansion": e} for k in (3, 5) for e in (1, 2, 4)}
_ACT = "prelu"


def mobilefacenet(spec: SpaceSpec) -> ChainSpace:
    """15 layers of MBConv k 3/5 x e 1/2/4 with PReLU, or skip; the head gives an embedding of `num_classes` features.

    The published network has fixed bottlenecks of k3 with expansions 2 and 4.
    """
    width = make_divisible(64 * spec.width)
    first = ConvBnAct(
        in_channels=spec.in_channels,
        out_channels=width,
        input_size=spec.side,
        kernel=3,
        stride=spec.early_stride,
        act=_ACT,
    )
    channels, size = width, first.output_size
    second = ConvBnAct(in_channels=width, out_channels=width, input_size=size, kernel=3, groups=width, act=_ACT)
    layers: list[list[MapBlock]] = []
    for stage, (out, num_layers) in enumerate(_STAGES):
        for position in range(num_layers):
            stride = (spec.early_stride if stage == 0 else 2) if position == 0 else 1
            shape: dict[str, Any] = {
                "in_channels": channels,
                "out_channels": make_divisible(out * spec.width),
                "input_size": size,
                "stride": stride,
            }
            layers.append([*(MBConv(**shape, **choice, act=_ACT) for choice in _CHOICES.values()), Skip(**shape)])
            channels, size = layers[-1][-1].out_channels, layers[-1][-1].output_size
    features = make_divisible(512 * spec.width)
    head: list[MapBlock] = [
        ConvBnAct(in_channels=channels, out_channels=features, input_size=size, kernel=1, act=_ACT),
        GlobalDepthwise(in_channels=features, out_channels=features, input_size=size),
        Embedding(in_channels=features, out_channels=spec.num_classes, input_size=1),
    ]
    return ChainSpace(spec, stem=[first, second], layers=layers, choice_names=[*_CHOICES, "skip"], head=head)
