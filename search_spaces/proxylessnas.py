"""ProxylessNAS's search space (Cai et al. 2019, ProxylessNAS: Direct Neural Architecture Search on Target Task)."""

from __future__ import annotations

from typing import Any

from search_spaces.block import Block
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.head import Classifier
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.separable import SeparableConv
from search_spaces.blocks.skip import Skip
from search_spaces.chain import ChainSpace
from search_spaces.space import SpaceSpec

STAGES = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
"""Output channels, layers, stride of the first layer."""

ACT = "relu6"

_CHOICES = {f"k{k}_e{e}": {"kernel": k, "expansion": e} for e in (3, 6) for k in (3, 5, 7)}


def proxylessnas(spec: SpaceSpec) -> ChainSpace:
    """21 layers of MBConv k 3/5/7 x e 3/6, and skip where shapes allow; first block without expansion, ReLU6."""
    stem, channels, size = proxylessnas_stem(spec)
    layers: list[list[Block]] = []
    for shape in layer_shapes(spec, channels, size):
        skip = Skip(**shape)
        bottlenecks: list[Block] = [MBConv(**shape, **choice, act=ACT) for choice in _CHOICES.values()]
        layers.append([*bottlenecks, skip] if skip.is_identity else bottlenecks)
        channels, size = skip.out_channels, skip.output_size
    return ChainSpace(
        spec,
        stem=stem,
        layers=layers,
        choice_names=[*_CHOICES, "skip"],
        head=proxylessnas_head(spec, channels, size),
    )


def proxylessnas_stem(spec: SpaceSpec) -> tuple[list[Block], int, int]:
    """Return the fixed first two blocks, and the channels and pixels that they give."""
    width = make_divisible(32 * spec.width)
    first = ConvBnAct(
        in_channels=spec.in_channels,
        out_channels=width,
        input_size=spec.side,
        kernel=3,
        stride=spec.early_stride,
        act=ACT,
    )
    channels = make_divisible(16 * spec.width)
    second = SeparableConv(in_channels=width, out_channels=channels, input_size=first.output_size, kernel=3, act=ACT)
    return [first, second], channels, first.output_size


def layer_shapes(spec: SpaceSpec, channels: int, size: int) -> list[dict[str, Any]]:
    """Channels, pixels and stride of the 21 searchable layers."""
    shapes = []
    for stage, (out, num_layers, first_stride) in enumerate(STAGES):
        for position in range(num_layers):
            stride = first_stride if position == 0 else 1
            if stage == 0:
                stride = min(stride, spec.early_stride)
            shape = {
                "in_channels": channels,
                "out_channels": make_divisible(out * spec.width),
                "input_size": size,
                "stride": stride,
            }
            shapes.append(shape)
            channels, size = shape["out_channels"], -(-size // stride)
    return shapes


def proxylessnas_head(spec: SpaceSpec, channels: int, size: int) -> list[Block]:
    """Return the feature convolution and the classifier with its pooling."""
    hidden = make_divisible(1280 * max(1.0, spec.width))  # the paper's widths below 1 keep all 1280
    return [
        ConvBnAct(in_channels=channels, out_channels=hidden, input_size=size, kernel=1, act=ACT),
        Classifier(in_channels=hidden, out_channels=spec.num_classes, input_size=size),
    ]
