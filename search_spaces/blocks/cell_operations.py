"""Operations of NAS-Bench-201's cells (Dong and Yang 2020, figure 1), and what is between and after the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from search_spaces.block import MapBlock, Shape, require_choice
from search_spaces.blocks.layers import init_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class ReluConvBn(MapBlock):
    """ReLU, convolution, BatchNorm."""

    family: ClassVar[str] = "relu_conv"

    kernel: int

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "kernel", (1, 3, 5))

    def _key_fields(self) -> dict[str, int | str]:
        return {"k": self.kernel, "s": self.stride}

    def build(self) -> nn.Module:
        """Return the three, initialised."""
        module = _relu_conv_bn(self.in_channels, self.out_channels, self.kernel, self.stride)
        init_weights(module)
        return module


@dataclass(frozen=True, kw_only=True, slots=True)
class AvgPool3x3(MapBlock):
    """3x3 average pooling of stride 1, the padding not counted."""

    family: ClassVar[str] = "avgpool"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "out_channels", (self.in_channels,))
        require_choice(self, "stride", (1,))

    def _key_fields(self) -> dict[str, int | str]:
        return {"k": 3}

    def build(self) -> nn.Module:
        """Return the pooling; it has no weights."""
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeAddition(MapBlock):
    """The sum of two feature maps of one shape; on its own, of one with itself."""

    family: ClassVar[str] = "addition"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "out_channels", (self.in_channels,))
        require_choice(self, "stride", (1,))

    def _key_fields(self) -> dict[str, int | str]:
        return {}

    def build(self) -> nn.Module:
        """Return the addition; it has no weights."""
        return _Twice()


@dataclass(frozen=True, kw_only=True, slots=True)
class ResidualStride(MapBlock):
    """Two ReLU-conv3x3-BatchNorm, the first with the stride, beside average pooling and a 1x1 convolution."""

    family: ClassVar[str] = "residual"

    def _key_fields(self) -> dict[str, int | str]:
        return {"s": self.stride}

    def build(self) -> nn.Module:
        """Return the block, initialised."""
        module = _Residual(self)
        init_weights(module)
        return module


@dataclass(frozen=True, kw_only=True, slots=True)
class NormHead(MapBlock):
    """BatchNorm, ReLU, global average pooling, classifier."""

    family: ClassVar[str] = "norm_head"

    @property
    def output_shape(self) -> Shape:
        """A logit per class."""
        return (self.out_channels,)

    def _key_fields(self) -> dict[str, int | str]:
        return {}

    def build(self) -> nn.Module:
        """Return the head, initialised; maps x_NCHW to logits of shape [N, classes]."""
        module = nn.Sequential(
            nn.BatchNorm2d(self.in_channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.in_channels, self.out_channels),
        )
        init_weights(module)
        return module


class _Twice(nn.Module):
    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return x_NCHW + x_NCHW


class _Residual(nn.Module):
    def __init__(self, block: ResidualStride) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _relu_conv_bn(block.in_channels, block.out_channels, 3, block.stride),
            _relu_conv_bn(block.out_channels, block.out_channels, 3, 1),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=block.stride, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(block.in_channels, block.out_channels, 1, bias=False),
        )

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.shortcut(x_NCHW) + self.body(x_NCHW)
        return out


def _relu_conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )
