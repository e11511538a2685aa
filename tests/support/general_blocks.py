"""Blocks of other shapes than one feature map in and one out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from search_spaces import Block
from search_spaces.block import Shape


@dataclass(frozen=True, kw_only=True)
class TokenMlp(Block):
    """A residual perceptron on tokens (T, D)."""

    family: ClassVar[str] = "token_mlp"

    tokens: int = 5
    features: int = 8
    hidden: int = 16

    @property
    def key(self) -> str:
        return f"token_mlp(t={self.tokens},d={self.features},h={self.hidden})"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((self.tokens, self.features),)

    @property
    def output_shape(self) -> Shape:
        return (self.tokens, self.features)

    def build(self) -> nn.Module:
        d, hidden = self.features, self.hidden
        return _Residual(nn.Sequential(nn.LayerNorm(d), nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, d)))


@dataclass(frozen=True, kw_only=True)
class Join(Block):
    """A rectangular feature map and the gates of its channels, multiplied and convolved."""

    family: ClassVar[str] = "join"

    channels: int = 4
    height: int = 6
    width: int = 9

    @property
    def key(self) -> str:
        return f"join(c={self.channels},h={self.height},w={self.width})"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((self.channels, self.height, self.width), (self.channels,))

    @property
    def output_shape(self) -> Shape:
        return (2 * self.channels, self.height, self.width)

    def build(self) -> nn.Module:
        return _Joined(self.channels)


@dataclass(frozen=True, kw_only=True)
class Patches(Block):
    """Patches of 2x2 pixels of an image of 6x8 as tokens of 8 features."""

    family: ClassVar[str] = "patches"

    @property
    def key(self) -> str:
        return "patches()"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((3, 6, 8),)

    @property
    def output_shape(self) -> Shape:
        return (12, 8)

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.Flatten(2), _Swapped())


GENERAL_BLOCKS: tuple[Block, ...] = (TokenMlp(), Join(), Patches())


class _Swapped(nn.Module):
    def forward(self, x_NDT: torch.Tensor) -> torch.Tensor:
        return x_NDT.transpose(1, 2)


class _Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x_NTD: torch.Tensor) -> torch.Tensor:
        return x_NTD + self.body(x_NTD)


class _Joined(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3, padding=1)

    def forward(self, x_NCHW: torch.Tensor, gates_NC: torch.Tensor) -> torch.Tensor:
        return self.conv(x_NCHW * gates_NC[:, :, None, None])
