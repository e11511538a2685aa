"""A class for every pixel: LR-ASPP, the light head of MobileNetV3's paper (Howard et al. 2019, figure 10).

Pooling is over the whole feature map, as in torchvision's networks: the paper's window of 49 pixels and stride of 16
are for photographs of a thousand pixels and more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from search_spaces.block import IDENTITY_KEY, MOST, Block, Shape, require_range, require_types
from search_spaces.blocks.features import FeatureBlock, feature_text, require_feature, require_size, size_text
from search_spaces.blocks.layers import conv_bn_act, init_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class GatedContext(FeatureBlock):
    """1x1 convolution, BatchNorm and ReLU, times a gate per channel from what is all over the feature map."""

    family: ClassVar[str] = "gated_context"

    def build(self) -> nn.Module:
        """Return both branches, initialised."""
        module = _GatedContext(self)
        init_weights(module)
        return module


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelClassifier(FeatureBlock):
    """Logits from the coarse context, brought to a finer feature map's size, and from that one's details, added.

    Attributes:
        width: channels of the context.
        coarse: height and width of the context.
        num_classes: classes to tell apart.
    """

    family: ClassVar[str] = "pixel_classifier"

    coarse: tuple[int, ...]
    num_classes: int

    def __post_init__(self) -> None:
        FeatureBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_size(self, "coarse", self.coarse)
        require_range(self, "num_classes", 1, MOST)

    @property
    def key(self) -> str:
        """Family, fine feature map, size and width of the context, and classes."""
        context = f"coarse={size_text(self.coarse)},w={self.width}"
        return f"{self.family}({feature_text(self.feature)},{context},classes={self.num_classes})"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The fine feature map, and the context."""
        return (self.feature, (self.width, *self.coarse))

    @property
    def output_shape(self) -> Shape:
        """A logit per class and pixel of the fine feature map."""
        return (self.num_classes, *self.feature[1:])

    def build(self) -> nn.Module:
        """Return both classifiers, initialised."""
        module = _PixelClassifier(self)
        for classifier in (module.of_details, module.of_context):
            nn.init.normal_(classifier.weight, std=0.01)
            assert classifier.bias is not None
            nn.init.zeros_(classifier.bias)
        return module


@dataclass(frozen=True, kw_only=True, slots=True)
class Upsample(Block):
    """Bilinear interpolation to another size.

    Attributes:
        feature: channels, height and width of the feature map.
        size: height and width of the output.

    Raises:
        SpaceError: a size is not in a sensible range.
    """

    family: ClassVar[str] = "upsample"

    feature: Shape
    size: tuple[int, ...]

    def __post_init__(self) -> None:
        require_types(self)
        require_feature(self, "feature", self.feature)
        require_size(self, "size", self.size)

    @property
    def key(self) -> str:
        """Family, feature map and size."""
        return (
            IDENTITY_KEY
            if self.is_identity
            else f"{self.family}({feature_text(self.feature)},to={size_text(self.size)})"
        )

    @property
    def is_identity(self) -> bool:
        """Whether the feature map has that size already."""
        return self.feature[1:] == self.size

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The feature map."""
        return (self.feature,)

    @property
    def output_shape(self) -> Shape:
        """As many channels at the other size."""
        return (self.feature[0], *self.size)

    def build(self) -> nn.Module:
        """Return the interpolation, which has no weights."""
        return nn.Identity() if self.is_identity else _Upsample(self.size)


class _GatedContext(nn.Module):
    def __init__(self, block: GatedContext) -> None:
        super().__init__()
        channels = block.feature[0]
        self.features = conv_bn_act(channels, block.width, act="relu")
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, block.width, 1, bias=False), nn.Sigmoid()
        )

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        gated: torch.Tensor = self.features(x_NCHW) * self.gate(x_NCHW)
        return gated


class _PixelClassifier(nn.Module):
    def __init__(self, block: PixelClassifier) -> None:
        super().__init__()
        self.of_details = nn.Conv2d(block.feature[0], block.num_classes, 1)
        self.of_context = nn.Conv2d(block.width, block.num_classes, 1)
        self.size = block.feature[1:]

    def forward(self, x_NCHW: torch.Tensor, context_NCHW: torch.Tensor) -> torch.Tensor:
        # A 1x1 convolution and an interpolation may trade places, and the coarse map has fewer pixels to convolve.
        of_context = _interpolated(self.of_context(context_NCHW), self.size)
        logits: torch.Tensor = self.of_details(x_NCHW) + of_context
        return logits


class _Upsample(nn.Module):
    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return _interpolated(x_NCHW, self.size)


def _interpolated(x_NCHW: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    return functional.interpolate(x_NCHW, size=size, mode="bilinear", align_corners=False)
