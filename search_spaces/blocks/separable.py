"""Depthwise separable convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from search_spaces.block import MapBlock, require_choice
from search_spaces.blocks.layers import ACTIVATIONS, WithResidual, conv_bn_act, init_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class SeparableConv(MapBlock):
    """Depthwise convolution and linear pointwise projection: an inverted bottleneck without its expansion.

    The first block of the MobileNet family from version 2 on (Sandler et al. 2018). A residual is added where stride is
    1 and channels agree.
    """

    family: ClassVar[str] = "sepconv"

    kernel: int
    act: str = "relu"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "kernel", (3, 5, 7, 9))
        require_choice(self, "act", tuple(ACTIVATIONS))

    def _key_fields(self) -> dict[str, int | str]:
        return {"k": self.kernel, "s": self.stride, "act": self.act}

    def build(self) -> nn.Module:
        """Return the two convolutions, initialised."""
        width = self.in_channels
        body = nn.Sequential(
            conv_bn_act(width, width, kernel=self.kernel, stride=self.stride, groups=width, act=self.act),
            conv_bn_act(width, self.out_channels),
        )
        module = WithResidual(body) if self.keeps_shape else body
        init_weights(module)
        return module
