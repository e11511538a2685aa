"""The block of MobileViT: attention between the same pixels of all patches, convolutions around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from search_spaces.block import MOST, MapBlock, require_choice, require_range
from search_spaces.blocks.attention import Attention
from search_spaces.blocks.layers import conv_bn_act, init_weights
from search_spaces.blocks.mlp import Perceptron
from search_spaces.blocks.tokens import TokenNorm, init_token_weights
from search_spaces.errors import SpaceError

HEADS = 4
RATIO = 2
"""Features between the linear layers over the tokens' (Mehta and Rastegari 2022, appendix A)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MobileVit(MapBlock):
    """Local convolutions, `depth` transformer layers on `features` channels, fusion with the input by a convolution.

    As Mehta and Rastegari 2022 (MobileViT, figure 1b) have it: SiLU, 4 heads, patches of 2x2 pixels; single pixels
    where the feature map's side is odd, where the reference code would resize.

    Raises:
        SpaceError: it would change channels or have a stride, or the heads do not divide the features.
    """

    family: ClassVar[str] = "mobilevit"

    features: int
    depth: int

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "out_channels", (self.in_channels,))
        require_choice(self, "stride", (1,))
        require_range(self, "features", HEADS, MOST)
        require_range(self, "depth", 1, 24)
        if self.features % HEADS:
            raise SpaceError(f"mobilevit.features must be a multiple of {HEADS}, the heads, got {self.features}")

    @property
    def patch(self) -> int:
        """Pixels a side of a patch."""
        return 1 if self.input_size % 2 else 2

    def _key_fields(self) -> dict[str, int | str]:
        return {"d": self.features, "depth": self.depth, "patch": self.patch}

    def build(self) -> nn.Module:
        """Return the block, initialised."""
        module = _MobileVit(self)
        init_weights(module)
        init_token_weights(module)
        return module


class _MobileVit(nn.Module):
    def __init__(self, block: MobileVit) -> None:
        super().__init__()
        channels, features = block.in_channels, block.features
        self._patch, self._side, self._features = block.patch, block.input_size // block.patch, features
        token_shape = (block.patch**2, self._side**2)
        self.local = nn.Sequential(
            conv_bn_act(channels, channels, kernel=3, act="silu"), nn.Conv2d(channels, features, 1, bias=False)
        )
        layers: list[nn.Module] = []
        for _ in range(block.depth):
            layers.append(Attention(token_shape, features, heads=HEADS, head_width=features // HEADS))
            layers.append(Perceptron(features, RATIO * features, nn.SiLU()))
        self.transformer = nn.Sequential(*layers, TokenNorm(features))
        self.project = conv_bn_act(features, channels, act="silu")
        self.fuse = conv_bn_act(2 * channels, channels, kernel=3, act="silu")

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        tokens_NPTD = self.transformer(self._to_tokens(self.local(x_NCHW)))
        attended_NCHW = self.project(self._to_map(tokens_NPTD))
        out: torch.Tensor = self.fuse(torch.cat((x_NCHW, attended_NCHW), dim=1))
        return out

    def _to_tokens(self, x_NDHW: torch.Tensor) -> torch.Tensor:
        """Return the pixels by their place in a patch and by patch."""
        patch, side = self._patch, self._side
        x = x_NDHW.reshape(-1, self._features, side, patch, side, patch)
        return x.permute(0, 3, 5, 2, 4, 1).reshape(-1, patch**2, side**2, self._features)

    def _to_map(self, x_NPTD: torch.Tensor) -> torch.Tensor:
        patch, side = self._patch, self._side
        x = x_NPTD.reshape(-1, patch, patch, side, side, self._features)
        return x.permute(0, 5, 3, 1, 4, 2).reshape(-1, self._features, side * patch, side * patch)
