"""Mobile inverted bottleneck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from search_spaces.block import MapBlock, require_choice, require_divisible, require_range
from search_spaces.blocks.layers import (
    ACTIVATIONS,
    ChannelShuffle,
    SqueezeExcite,
    conv_bn_act,
    init_weights,
    make_divisible,
)
from search_spaces.blocks.stochastic_depth import StochasticDepth


@dataclass(frozen=True, kw_only=True, slots=True)
class MBConv(MapBlock):
    """Pointwise expansion, depthwise convolution, linear pointwise projection (Sandler et al. 2018).

    The expansion is there for `expansion=1` too, as FBNet has it (Wu et al. 2019). With `groups` above 1 both pointwise
    convolutions are grouped and the channels are shuffled between them. A residual is added where stride is 1 and
    channels agree. `se_ratio` is the share of the expanded channels that squeeze-excite keeps, 0 for none.
    """

    family: ClassVar[str] = "mbconv"

    kernel: int
    expansion: int
    groups: int = 1
    act: str = "relu"
    se_ratio: float = 0.0

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "kernel", (3, 5, 7, 9))
        require_choice(self, "act", tuple(ACTIVATIONS))
        require_choice(self, "expansion", tuple(range(1, 13)))
        require_range(self, "se_ratio", 0, 1)
        require_divisible(self, self.in_channels, self.groups)
        require_divisible(self, self.out_channels, self.groups)

    def _key_fields(self) -> dict[str, int | str]:
        return {
            "k": self.kernel,
            "s": self.stride,
            "e": self.expansion,
            "g": self.groups,
            "act": self.act,
            "se": f"{self.se_ratio:g}",
        }

    def build(self) -> nn.Module:
        """Return the bottleneck, initialised."""
        module = _Bottleneck(self)
        init_weights(module)
        return module


class _Bottleneck(nn.Module):
    def __init__(self, block: MBConv) -> None:
        super().__init__()
        width = block.in_channels * block.expansion
        layers: list[nn.Module] = [conv_bn_act(block.in_channels, width, groups=block.groups, act=block.act)]
        if block.groups > 1:
            layers.append(ChannelShuffle(block.groups))
        layers.append(conv_bn_act(width, width, kernel=block.kernel, stride=block.stride, groups=width, act=block.act))
        if block.se_ratio > 0:
            layers.append(SqueezeExcite(width, make_divisible(width * block.se_ratio)))
        layers.append(conv_bn_act(width, block.out_channels, groups=block.groups))
        self.body = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth() if block.keeps_shape else None

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x_NCHW)
        return out if self.stochastic_depth is None else x_NCHW + self.stochastic_depth(out)
