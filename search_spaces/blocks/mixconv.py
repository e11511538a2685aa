"""Inverted bottleneck of mixed kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import torch
from torch import nn

from search_spaces.block import MapBlock, require_choice
from search_spaces.blocks.layers import ACTIVATIONS, conv_bn_act, init_weights
from search_spaces.blocks.stochastic_depth import StochasticDepth
from search_spaces.errors import SpaceError

MIXED_KERNELS = (3, 5, 7)


@dataclass(frozen=True, kw_only=True, slots=True)
class MixConv(MapBlock):
    """Pointwise expansion, a depthwise kernel per group of channels, linear projection (Tan and Le 2019, MixConv).

    Each entry of `kernels` is a group as wide as the input, so that their number is the expansion. Their order makes no
    difference; they are kept ascending. A residual is added where stride is 1 and channels agree.

    Raises:
        SpaceError: kernels are not ascending or not among 3, 5 and 7.
    """

    family: ClassVar[str] = "mixconv"

    kernels: tuple[int, ...]
    act: str = "relu"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "act", tuple(ACTIVATIONS))
        if not self.kernels or list(self.kernels) != sorted(self.kernels) or not set(self.kernels) <= {3, 5, 7}:
            raise SpaceError(f"mixconv.kernels must be ascending, of 3, 5 and 7, and not empty; got {self.kernels}")

    @property
    def expansion(self) -> int:
        """The width of the middle, as a multiple of the input's."""
        return len(self.kernels)

    @property
    def parts(self) -> Iterator[tuple[int, slice]]:
        """Every kernel with the range of expanded channels that it is for."""
        start = 0
        for kernel, run in groupby(self.kernels):
            stop = start + len(list(run)) * self.in_channels
            yield kernel, slice(start, stop)
            start = stop

    def _key_fields(self) -> dict[str, int | str]:
        return {"k": "-".join(map(str, self.kernels)), "s": self.stride, "act": self.act}

    def build(self) -> nn.Module:
        """Return the bottleneck, initialised."""
        module = _MixedBottleneck(self)
        init_weights(module)
        return module


class _MixedBottleneck(nn.Module):
    def __init__(self, block: MixConv) -> None:
        super().__init__()
        width = block.in_channels * block.expansion
        parts = [(kernel, channels.stop - channels.start) for kernel, channels in block.parts]
        self.widths = [wide for _, wide in parts]
        self.expand = conv_bn_act(block.in_channels, width, act=block.act)
        self.branches = nn.ModuleList(
            conv_bn_act(wide, wide, kernel=kernel, stride=block.stride, groups=wide, act=block.act)
            for kernel, wide in parts
        )
        self.project = conv_bn_act(width, block.out_channels)
        self.stochastic_depth = StochasticDepth() if block.keeps_shape else None

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        x = self.expand(x_NCHW)
        if len(self.branches) == 1:
            x = self.branches[0](x)
        else:
            parts = zip(self.branches, x.split(self.widths, dim=1), strict=True)
            x = torch.cat([branch(part) for branch, part in parts], dim=1)
        out: torch.Tensor = self.project(x)
        return out if self.stochastic_depth is None else x_NCHW + self.stochastic_depth(out)
