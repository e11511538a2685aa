"""From an image to tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from search_spaces.block import MapBlock, Shape
from search_spaces.blocks.tokens import INIT_STD
from search_spaces.errors import SpaceError


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchEmbedding(MapBlock):
    """A linear layer on each patch of `stride` pixels a side, plus a learnt vector for its place.

    There is no class token: the head takes the mean of all tokens (Dosovitskiy et al. 2021, section D.3).

    Raises:
        SpaceError: the patches do not divide the image.
    """

    family: ClassVar[str] = "patch_embedding"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        if self.input_size % self.stride:
            raise SpaceError(
                f"expected images of a multiple of {self.stride} pixels a side, the side of a patch, got "
                f"{self.input_size}"
            )

    @property
    def output_shape(self) -> Shape:
        """A token per patch."""
        return (self.output_size**2, self.out_channels)

    def _key_fields(self) -> dict[str, int | str]:
        return {"patch": self.stride}

    def build(self) -> nn.Module:
        """Return the embedding, initialised; maps x_NCHW to tokens x_NTD."""
        return _PatchEmbedding(self)


class _PatchEmbedding(nn.Module):
    def __init__(self, block: PatchEmbedding) -> None:
        super().__init__()
        self.linear = nn.Conv2d(block.in_channels, block.out_channels, block.stride, block.stride)
        self.position_TD = nn.Parameter(torch.empty(*block.output_shape))
        if not self.position_TD.is_meta:
            nn.init.trunc_normal_(self.position_TD, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        # By numbers and not by flatten(), which the exporter computes from shapes, so that none is known behind it.
        tokens_NDT = self.linear(x_NCHW).reshape(-1, len(self.linear.weight), len(self.position_TD))
        out: torch.Tensor = tokens_NDT.transpose(1, 2) + self.position_TD
        return out
