"""From features to logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from search_spaces.block import Block, require_choice
from search_spaces.blocks.layers import ACTIVATIONS, conv_bn_act, init_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Head(Block):
    """1x1 convolution to `hidden` channels, global average pooling, classifier with bias to `out_channels` classes."""

    family: ClassVar[str] = "head"

    hidden: int
    act: str = "relu"

    def __post_init__(self) -> None:
        Block.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "act", tuple(ACTIVATIONS))

    def _key_fields(self) -> dict[str, int | str]:
        return {"hidden": self.hidden, "act": self.act}

    def build(self) -> nn.Module:
        """The head, initialised; maps x_NCHW to logits of shape [N, classes]."""
        module = nn.Sequential(
            conv_bn_act(self.in_channels, self.hidden, act=self.act),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.hidden, self.out_channels),
        )
        init_weights(module)
        return module
