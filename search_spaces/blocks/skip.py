"""A layer left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from search_spaces.block import MapBlock
from search_spaces.blocks.layers import conv_bn_act, init_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Skip(MapBlock):
    """The identity where shapes allow; where they change, a strided linear 1x1 convolution with BatchNorm."""

    family: ClassVar[str] = "skip"

    @property
    def is_identity(self) -> bool:
        """Whether input and output shapes agree."""
        return self.keeps_shape

    def _key_fields(self) -> dict[str, int | str]:
        return {"s": self.stride}

    def build(self) -> nn.Module:
        """Return the identity or the projection, initialised."""
        if self.is_identity:
            return nn.Identity()
        module = conv_bn_act(self.in_channels, self.out_channels, stride=self.stride)
        init_weights(module)
        return module
