"""From features to an embedding, without pooling (Chen et al. 2018, MobileFaceNets)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from search_spaces.block import MapBlock, Shape, require_choice
from search_spaces.blocks.layers import init_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class GlobalDepthwise(MapBlock):
    """A linear depthwise convolution over the whole feature map, BatchNorm: pooling that learns where to look."""

    family: ClassVar[str] = "gdconv"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "out_channels", (self.in_channels,))
        require_choice(self, "stride", (1,))

    @property
    def output_size(self) -> int:
        """One pixel."""
        return 1

    def _key_fields(self) -> dict[str, int | str]:
        return {}

    def build(self) -> nn.Module:
        """Return the convolution, initialised."""
        width = self.in_channels
        module = nn.Sequential(
            nn.Conv2d(width, width, self.input_size, groups=width, bias=False), nn.BatchNorm2d(width)
        )
        init_weights(module)
        return module


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedding(MapBlock):
    """Linear 1x1 convolution with BatchNorm on one pixel to `out_channels` features, as a vector."""

    family: ClassVar[str] = "embedding"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "input_size", (1,))
        require_choice(self, "stride", (1,))

    @property
    def output_shape(self) -> Shape:
        """The features."""
        return (self.out_channels,)

    def _key_fields(self) -> dict[str, int | str]:
        return {}

    def build(self) -> nn.Module:
        """Return the projection, initialised; maps x_NCHW to embeddings of shape [N, features]."""
        module = nn.Sequential(
            nn.Conv2d(self.in_channels, self.out_channels, 1, bias=False),
            nn.BatchNorm2d(self.out_channels),
            nn.Flatten(),
        )
        init_weights(module)
        return module
