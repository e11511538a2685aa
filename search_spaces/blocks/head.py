"""From features to logits, in one block or in its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from search_spaces.block import MOST, MapBlock, Shape, require_choice, require_range
from search_spaces.blocks.layers import ACTIVATIONS, conv_bn_act, init_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Head(MapBlock):
    """1x1 convolution to `hidden` channels, global average pooling, classifier with bias to `out_channels` classes."""

    family: ClassVar[str] = "head"

    hidden: int
    act: str = "relu"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "act", tuple(ACTIVATIONS))
        require_range(self, "hidden", 1, MOST)

    @property
    def output_shape(self) -> Shape:
        """A logit per class."""
        return (self.out_channels,)

    def _key_fields(self) -> dict[str, int | str]:
        return {"hidden": self.hidden, "act": self.act}

    def build(self) -> nn.Module:
        """Return the head, initialised; maps x_NCHW to logits of shape [N, classes]."""
        module = nn.Sequential(
            conv_bn_act(self.in_channels, self.hidden, act=self.act),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.hidden, self.out_channels),
        )
        init_weights(module)
        return module


@dataclass(frozen=True, kw_only=True, slots=True)
class GlobalPool(MapBlock):
    """Global average pooling to one pixel.

    Raises:
        SpaceError: it would change channels or have a stride.
    """

    family: ClassVar[str] = "pool"

    def __post_init__(self) -> None:
        MapBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_choice(self, "out_channels", (self.in_channels,))
        require_choice(self, "stride", (1,))

    @property
    def output_size(self) -> int:
        """One pixel."""
        return 1

    @property
    def is_identity(self) -> bool:
        """Whether there is only one pixel to begin with."""
        return self.input_size == 1

    def _key_fields(self) -> dict[str, int | str]:
        return {}

    def build(self) -> nn.Module:
        """Return the pooling, which has no weights."""
        return nn.Identity() if self.is_identity else nn.AdaptiveAvgPool2d(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier(MapBlock):
    """Linear layer with bias to `out_channels` classes, after global average pooling of more than one pixel."""

    family: ClassVar[str] = "classifier"

    @property
    def output_shape(self) -> Shape:
        """A logit per class."""
        return (self.out_channels,)

    def _key_fields(self) -> dict[str, int | str]:
        return {}

    def build(self) -> nn.Module:
        """Return the classifier, initialised; maps x_NCHW to logits of shape [N, classes]."""
        pooling = [nn.AdaptiveAvgPool2d(1)] if self.input_size > 1 else []
        module = nn.Sequential(*pooling, nn.Flatten(), nn.Linear(self.in_channels, self.out_channels))
        init_weights(module)
        return module
