"""Layers that several block families are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from search_spaces.blocks.convolution import Conv2d
from search_spaces.blocks.stochastic_depth import StochasticDepth

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
    "silu": nn.SiLU,
    "prelu": nn.PReLU,
}
"""Activation modules by the name that block keys use. Not in place: candidate blocks may share their input."""


def conv_bn_act(
    in_channels: int,
    out_channels: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    act: str = "none",
    norm: bool = True,
) -> nn.Sequential:
    """Return a convolution without bias and with same padding, BatchNorm unless `norm` is off, and the activation."""
    layers: list[nn.Module] = [
        Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    ]
    if norm:
        layers.append(nn.BatchNorm2d(out_channels))
    if act == "prelu":
        layers.append(nn.PReLU(out_channels))  # a slope per channel
    elif act != "none":
        layers.append(ACTIVATIONS[act]())
    return nn.Sequential(*layers)


class WithResidual(nn.Module):
    """Adds the input to what the body makes of it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.stochastic_depth = StochasticDepth()

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x_NCHW + self.stochastic_depth(self.body(x_NCHW))
        return out


class ChannelShuffle(nn.Module):
    """Interleaves the channels of groups, so that the next grouped convolution sees all (Zhang et al. 2018)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        channels, height, width = x_NCHW.shape[1:]
        x = x_NCHW.reshape(-1, self.groups, channels // self.groups, height, width)
        return x.transpose(1, 2).reshape(-1, channels, height, width)


class SqueezeExcite(nn.Module):
    """Channel gates from pooled features (Hu et al. 2018), with MobileNetV3's hard sigmoid (Howard et al. 2019)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        gated: torch.Tensor = x_NCHW * self.gate(x_NCHW)
        return gated


def init_weights(module: nn.Module) -> None:
    """Initialise in place: convolutions as He et al. 2015 (fan out), linear layers N(0, 0.01), BatchNorm ones."""
    if any(p.is_meta for p in module.parameters()):
        return  # built to count costs: there is nothing to initialise, which would take longest
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
        bias = getattr(layer, "bias", None)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Return the multiple of `divisor` nearest to `channels`, at least `divisor` and never under 90 % of `channels`.

    The rounding of the MobileNet family for width multipliers (Sandler et al. 2018, reference code).
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
