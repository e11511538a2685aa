"""Convolutions and attention around MobileViT-XS (Mehta and Rastegari 2022, MobileViT, arXiv 2110.02178)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from search_spaces.block import MapBlock
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.head import Head
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.mobilevit import MobileVit
from search_spaces.blocks.skip import Skip
from search_spaces.chain import ChainSpace
from search_spaces.space import SpaceSpec

ACT = "silu"

_STAGES = ((32, 1, 1, 0), (48, 3, 2, 0), (64, 1, 2, 96), (80, 1, 2, 120), (96, 1, 2, 144))
"""Output channels, layers of bottlenecks, stride of the first, features of the attention behind them (0 for none)."""

DEPTHS = (1, 2, 3, 4)

_CHOICES = {f"k{k}_e{e}": {"kernel": k, "expansion": e} for e in (2, 4) for k in (3, 5, 7)}


def mobilevit(spec: SpaceSpec) -> ChainSpace:
    """7 layers of MBConv k 3/5/7 x e 2/4, and attention of 1 to 4 layers at the last three resolutions; SiLU.

    The paper's network is k3 e4 throughout, with attention of 2, 4 and 3 layers. Skip is a choice where shapes allow.
    """
    stem = ConvBnAct(
        in_channels=spec.in_channels,
        out_channels=make_divisible(16 * spec.width),
        input_size=spec.side,
        kernel=3,
        stride=spec.early_stride,
        act=ACT,
    )
    layers, names = _layers(spec, stem)
    last = layers[-1][0]
    head = Head(
        in_channels=last.out_channels,
        out_channels=spec.num_classes,
        input_size=last.output_size,
        hidden=make_divisible(384 * spec.width),
        act=ACT,
    )
    space = ChainSpace(spec, stem=[stem], layers=layers, choice_names=max(names, key=len), head=[head])
    space.decisions = tuple(
        replace(decision, choices=tuple(own)) for decision, own in zip(space.decisions, names, strict=True)
    )
    return space


def _layers(spec: SpaceSpec, stem: MapBlock) -> tuple[list[list[MapBlock]], list[Sequence[str]]]:
    """Return the candidates of each layer, and what they are called."""
    layers: list[list[MapBlock]] = [[stem]]
    names: list[Sequence[str]] = []
    for stage, (out, num_layers, first_stride, features) in enumerate(_STAGES):
        for position in range(num_layers):
            stride = first_stride if position == 0 else 1
            stride = min(stride, spec.early_stride) if stage == 1 else stride
            layers.append(_bottlenecks(spec, layers[-1][0], out, stride))
            names.append([*_CHOICES, "skip"][: len(layers[-1])])
        if features:
            layers.append(_attention(spec, layers[-1][0], features))
            names.append([*(f"depth{depth}" for depth in DEPTHS), "skip"])
    return layers[1:], names


def _bottlenecks(spec: SpaceSpec, before: MapBlock, out: int, stride: int) -> list[MapBlock]:
    shape: dict[str, Any] = {
        "in_channels": before.out_channels,
        "out_channels": make_divisible(out * spec.width),
        "input_size": before.output_size,
        "stride": stride,
    }
    skip = Skip(**shape)
    bottlenecks: list[MapBlock] = [MBConv(**shape, **choice, act=ACT) for choice in _CHOICES.values()]
    return [*bottlenecks, skip] if skip.is_identity else bottlenecks


def _attention(spec: SpaceSpec, before: MapBlock, features: int) -> list[MapBlock]:
    shape = {"in_channels": before.out_channels, "out_channels": before.out_channels, "input_size": before.output_size}
    scaled = make_divisible(features * spec.width)
    return [*(MobileVit(**shape, features=scaled, depth=depth) for depth in DEPTHS), Skip(**shape)]
