"""ShuffleNetV2 units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from search_spaces.block import MapBlock, require_choice
from search_spaces.blocks.layers import ChannelShuffle, conv_bn_act, init_weights
from search_spaces.errors import SpaceError


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffleUnit(MapBlock):
    """Half of the channels pass, the others are transformed; then all are shuffled (Ma et al. 2018, ShuffleNetV2).

    With stride 2 both branches take all channels. Widths as in Guo et al. 2020: the transformed branch has half of the
    output channels inside, and gives what the other branch leaves.

    Raises:
        SpaceError: stride 1 with different or odd channels, or stride 2 with no more channels than before.
    """

    family: ClassVar[str] = "shuffle"

    kernel: int

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "kernel", (3, 5, 7))
        _require_shuffle_shape(self)

    def _key_fields(self) -> dict[str, int | str]:
        return {"k": self.kernel, "s": self.stride}

    def build(self) -> nn.Module:
        """Return the unit, initialised."""
        width, half = _passing_channels(self), self.out_channels // 2
        branch = nn.Sequential(
            conv_bn_act(width, half, act="relu"),
            conv_bn_act(half, half, kernel=self.kernel, stride=self.stride, groups=half),
            conv_bn_act(half, self.out_channels - width, act="relu"),
        )
        return _built(self, branch, kernel=self.kernel)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffleXceptionUnit(MapBlock):
    """A `ShuffleUnit` whose branch is three pairs of depthwise 3x3 and pointwise convolutions (Guo et al. 2020)."""

    family: ClassVar[str] = "shuffle_xception"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        _require_shuffle_shape(self)

    def _key_fields(self) -> dict[str, int | str]:
        return {"s": self.stride}

    def build(self) -> nn.Module:
        """Return the unit, initialised."""
        width, half = _passing_channels(self), self.out_channels // 2
        branch = nn.Sequential(
            conv_bn_act(width, width, kernel=3, stride=self.stride, groups=width),
            conv_bn_act(width, half, act="relu"),
            conv_bn_act(half, half, kernel=3, groups=half),
            conv_bn_act(half, half, act="relu"),
            conv_bn_act(half, half, kernel=3, groups=half),
            conv_bn_act(half, self.out_channels - width, act="relu"),
        )
        return _built(self, branch, kernel=3)


class _Shuffled(nn.Module):
    """Two branches side by side, shuffled; without a second one, half of the channels pass."""

    def __init__(self, branch: nn.Module, other: nn.Module | None) -> None:
        super().__init__()
        self.branch = branch
        self.other = other
        self.shuffle = ChannelShuffle(2)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        if self.other is None:
            passing, transformed = x_NCHW.chunk(2, dim=1)
        else:
            passing, transformed = self.other(x_NCHW), x_NCHW
        out: torch.Tensor = self.shuffle(torch.cat([passing, self.branch(transformed)], dim=1))
        return out


def _built(block: MapBlock, branch: nn.Module, *, kernel: int) -> nn.Module:
    other = None
    if block.stride == 2:
        width = block.in_channels
        other = nn.Sequential(
            conv_bn_act(width, width, kernel=kernel, stride=2, groups=width), conv_bn_act(width, width, act="relu")
        )
    module = _Shuffled(branch, other)
    init_weights(module)
    return module


def _passing_channels(block: MapBlock) -> int:
    """Return the channels of the branch beside the transformed one; as many go into the transformed branch."""
    return block.in_channels if block.stride == 2 else block.in_channels // 2


def _require_shuffle_shape(block: MapBlock) -> None:
    require_choice(block, "stride", (1, 2))
    if block.out_channels % 2 or (block.stride == 1 and block.in_channels != block.out_channels):
        raise SpaceError(f"{block.family}: channels must be even, and with stride 1 as many as before: {block}")
    if block.stride == 2 and block.out_channels <= block.in_channels:
        raise SpaceError(f"{block.family}: stride 2 must add channels to the {block.in_channels} there are: {block}")
