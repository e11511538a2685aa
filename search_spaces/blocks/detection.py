"""The neck and the head of a detector: a small feature pyramid, and boxes and classes for each of its points.

Shape suffixes: C channels or outputs per point, H and W pixels, P points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from search_spaces.block import MOST, Block, Shape, require_range, require_types
from search_spaces.blocks.features import FeatureBlock, feature_text, require_feature, require_size, size_text
from search_spaces.blocks.layers import conv_bn_act, init_weights
from search_spaces.errors import SpaceError

NUM_DISTANCES = 4
"""Outputs of a point beside the classes: how far the box reaches to its left, top, right and bottom."""

PRIOR = 0.01
"""The share of points that a new detector takes for an object of each class (Lin et al. 2017, Focal Loss)."""

PREDICTION_STD = 0.01
"""Standard deviation of the weights that predictions begin with (the same)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lateral(FeatureBlock):
    """1x1 convolution of a feature map to the neck's width, BatchNorm (Lin et al. 2017, Feature Pyramid Networks)."""

    family: ClassVar[str] = "lateral"

    def build(self) -> nn.Module:
        """Return the convolution, initialised."""
        module = conv_bn_act(self.feature[0], self.width)
        init_weights(module)
        return module


@dataclass(frozen=True, kw_only=True, slots=True)
class TopDown(FeatureBlock):
    """The lateral convolution of a feature map, added to the pyramid's next coarser level brought to its size.

    The coarser level is repeated to the nearest pixels, as in Lin et al. 2017.

    Attributes:
        coarse: height and width of the coarser level.
    """

    family: ClassVar[str] = "top_down"

    coarse: tuple[int, ...]

    def __post_init__(self) -> None:
        FeatureBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_size(self, "coarse", self.coarse)

    @property
    def key(self) -> str:
        """Family, feature map, size of the coarser level, width."""
        return f"{self.family}({feature_text(self.feature)},coarse={size_text(self.coarse)},w={self.width})"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The feature map, and the coarser level of the pyramid."""
        return (self.feature, (self.width, *self.coarse))

    def build(self) -> nn.Module:
        """Return the convolution with the addition, initialised."""
        module = _TopDown(self)
        init_weights(module)
        return module


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionHead(Block):
    """The boxes and classes of one level, without anchors and in branches of their own for either.

    A depthwise separable 3x3 convolution smooths the level (Lin et al. 2017), `depth` more lead to the boxes and as
    many to the classes (Ge et al. 2021, YOLOX; after Tian et al. 2019, FCOS). A box is four distances from the point
    to its sides, in strides of the level, and above zero. No level shares weights with another, as in YOLOX.

    Attributes:
        level: channels, height and width of the level.
        depth: separable convolutions in each branch.
        num_classes: classes to tell apart.

    Raises:
        SpaceError: a size is not in a sensible range.
    """

    family: ClassVar[str] = "detection_head"

    level: Shape
    depth: int
    num_classes: int

    def __post_init__(self) -> None:
        require_types(self)
        require_feature(self, "level", self.level)
        require_range(self, "depth", 1, 16)
        require_range(self, "num_classes", 1, MOST)

    @property
    def key(self) -> str:
        """Family, level, depth and classes."""
        width, *size = self.level
        return f"{self.family}(w={width},hw={size_text(tuple(size))},d={self.depth},classes={self.num_classes})"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The level."""
        return (self.level,)

    @property
    def output_shape(self) -> Shape:
        """Distances and class logits in the first dimension, the level's points, row by row, in the second."""
        return (NUM_DISTANCES + self.num_classes, self.level[1] * self.level[2])

    def build(self) -> nn.Module:
        """Return the head, initialised; maps x_NCHW to N, distances and classes, P."""
        module = LevelHead.of(self)
        init_weights(module)
        for prediction in (module.distances, module.classes):
            nn.init.normal_(prediction.weight, std=PREDICTION_STD)
        assert module.classes.bias is not None
        nn.init.constant_(module.classes.bias, -math.log((1 - PRIOR) / PRIOR))
        return module


@dataclass(frozen=True, kw_only=True, slots=True)
class Points(Block):
    """The levels' points in one list, distances and classes of each point beside each other.

    Attributes:
        num_classes: classes to tell apart.
        points: points of each level, the finest first.

    Raises:
        SpaceError: a size is not in a sensible range.
    """

    family: ClassVar[str] = "points"

    num_classes: int
    points: tuple[int, ...]

    def __post_init__(self) -> None:
        require_types(self)
        require_range(self, "num_classes", 1, MOST)
        if not self.points or not all(1 <= num <= MOST * MOST for num in self.points):
            raise SpaceError(f"points.points must be counts of at least 1, got {self.points}")

    @property
    def key(self) -> str:
        """Family, points of each level, and classes."""
        return f"{self.family}(p={'-'.join(map(str, self.points))},classes={self.num_classes})"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The outputs of each level's head."""
        return tuple((NUM_DISTANCES + self.num_classes, num) for num in self.points)

    @property
    def output_shape(self) -> Shape:
        """Points, and distances and class logits of each."""
        return (sum(self.points), NUM_DISTANCES + self.num_classes)

    def build(self) -> nn.Module:
        """Return the concatenation, which has no weights."""
        return _Points()


class _TopDown(nn.Module):
    def __init__(self, block: TopDown) -> None:
        super().__init__()
        self.lateral = conv_bn_act(block.feature[0], block.width)
        self.size = block.feature[1:]

    def forward(self, x_NCHW: torch.Tensor, coarse_NCHW: torch.Tensor) -> torch.Tensor:
        brought = functional.interpolate(coarse_NCHW, size=self.size, mode="nearest")
        out: torch.Tensor = self.lateral(x_NCHW) + brought
        return out


class LevelHead(nn.Module):
    """The module of a `DetectionHead`; `shape` is the block's output."""

    def __init__(
        self,
        *,
        smooth: nn.Module,
        to_distances: nn.Sequential,
        to_classes: nn.Sequential,
        distances: nn.Conv2d,
        classes: nn.Conv2d,
        shape: Shape,
    ) -> None:
        super().__init__()
        self.smooth = smooth
        self.to_distances, self.to_classes = to_distances, to_classes
        self.distances, self.classes = distances, classes
        self.shape = shape

    @classmethod
    def of(cls, block: DetectionHead) -> LevelHead:
        """Return the module of a block."""
        width = block.level[0]
        return cls(
            smooth=_separable(width),
            to_distances=nn.Sequential(*(_separable(width) for _ in range(block.depth))),
            to_classes=nn.Sequential(*(_separable(width) for _ in range(block.depth))),
            distances=nn.Conv2d(width, NUM_DISTANCES, 1),
            classes=nn.Conv2d(width, block.num_classes, 1),
            shape=block.output_shape,
        )

    def of_depth(self, depth: int) -> LevelHead:
        """Return the head whose branches end after so many convolutions, with this one's weights."""
        return LevelHead(
            smooth=self.smooth,
            to_distances=nn.Sequential(*list(self.to_distances)[:depth]),
            to_classes=nn.Sequential(*list(self.to_classes)[:depth]),
            distances=self.distances,
            classes=self.classes,
            shape=self.shape,
        )

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        x = self.smooth(x_NCHW)
        distances_NCHW = functional.softplus(self.distances(self.to_distances(x)))
        classes_NCHW = self.classes(self.to_classes(x))
        return torch.cat([distances_NCHW, classes_NCHW], dim=1).reshape(-1, *self.shape)


class _Points(nn.Module):
    def forward(self, *levels_NCP: torch.Tensor) -> torch.Tensor:
        return torch.cat(levels_NCP, dim=2).transpose(1, 2)


def _separable(width: int) -> nn.Sequential:
    """Return a depthwise 3x3 and a 1x1 convolution, each with BatchNorm and ReLU."""
    return nn.Sequential(
        conv_bn_act(width, width, kernel=3, groups=width, act="relu"), conv_bn_act(width, width, act="relu")
    )
