"""Plain convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from search_spaces.block import MapBlock, require_choice, require_divisible
from search_spaces.blocks.layers import ACTIVATIONS, conv_bn_act, init_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvBnAct(MapBlock):
    """Convolution, BatchNorm unless `norm` is off, activation. Stems are of this family."""

    family: ClassVar[str] = "conv"

    kernel: int
    groups: int = 1
    act: str = "relu"
    norm: bool = True

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "kernel", (1, 3, 5, 7, 9))
        require_choice(self, "act", tuple(ACTIVATIONS))
        require_divisible(self, self.in_channels, self.groups)
        require_divisible(self, self.out_channels, self.groups)

    def _key_fields(self) -> dict[str, int | str]:
        fields: dict[str, int | str] = {"k": self.kernel, "s": self.stride, "g": self.groups, "act": self.act}
        return fields if self.norm else fields | {"norm": 0}

    def build(self) -> nn.Module:
        """Return the convolution, initialised."""
        module = conv_bn_act(
            self.in_channels,
            self.out_channels,
            kernel=self.kernel,
            stride=self.stride,
            groups=self.groups,
            act=self.act,
            norm=self.norm,
        )
        init_weights(module)
        return module
