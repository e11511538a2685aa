"""Blocks on tokens: their shapes, the layers that they share, and what stands after the last one.

Tokens are the cells of a square grid, row by row, each a vector of features: tensors are x_NTD of N images, T tokens
and D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from search_spaces.block import IDENTITY_KEY, MapBlock, Shape, require_choice

INIT_STD = 0.02
"""The standard deviation of the weights of linear layers and position embeddings (Dosovitskiy et al. 2021)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenBlock(MapBlock):
    """A block from tokens to tokens: `input_size` cells a side of the grid, `in_channels` features each.

    Raises:
        SpaceError: it would change the features or have a stride.
    """

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "out_channels", (self.in_channels,))
        require_choice(self, "stride", (1,))

    @property
    def num_tokens(self) -> int:
        """The cells of the grid."""
        return self.input_size * self.input_size

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The tokens."""
        return ((self.num_tokens, self.in_channels),)

    @property
    def output_shape(self) -> Shape:
        """Tokens like those that go in; families that give something else say so."""
        return (self.num_tokens, self.out_channels)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSkip(TokenBlock):
    """The identity, in place of a layer that is left out."""

    family: ClassVar[str] = "token_skip"

    @property
    def key(self) -> str:
        """The key of every identity."""
        return IDENTITY_KEY

    @property
    def is_identity(self) -> bool:
        """Whether it vanishes from the graph: always."""
        return True

    def _key_fields(self) -> dict[str, int | str]:
        return {}

    def build(self) -> nn.Module:
        """Return the identity."""
        return nn.Identity()


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenHead(MapBlock):
    """Layer normalisation, the mean of all tokens, and a linear layer with bias to `out_channels` classes."""

    family: ClassVar[str] = "token_head"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "stride", (1,))

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The tokens."""
        return ((self.input_size**2, self.in_channels),)

    @property
    def output_shape(self) -> Shape:
        """A logit per class."""
        return (self.out_channels,)

    def _key_fields(self) -> dict[str, int | str]:
        return {}

    def build(self) -> nn.Module:
        """Return the head, initialised; maps x_NTD to logits of shape [N, classes]."""
        module = nn.Sequential(TokenNorm(self.in_channels), TokenMean(), nn.Linear(self.in_channels, self.out_channels))
        init_token_weights(module)
        return module


class TokenNorm(nn.LayerNorm):
    """Layer normalisation over as many features as there are weights, so that a part of the weights can be put in."""

    def forward(self, x_NTD: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x_NTD, (len(self.weight),), self.weight, self.bias, self.eps)


class TokenMean(nn.Module):
    """The mean of all tokens, [N, D]."""

    def forward(self, x_NTD: torch.Tensor) -> torch.Tensor:
        return x_NTD.mean(dim=1)


def init_token_weights(module: nn.Module) -> None:
    """Initialise linear layers in place: weights N(0, 0.02) within two deviations, biases zero."""
    if any(p.is_meta for p in module.parameters()):
        return  # built to count costs: there is nothing to initialise
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD)
            nn.init.zeros_(layer.bias)
