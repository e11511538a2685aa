"""Shapes of feature maps as fields of blocks: channels, height and width."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.block import MOST, Block, Shape, require_range, require_types
from search_spaces.errors import SpaceError


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureBlock(Block):
    """A block that gives a feature map another number of channels, and leaves its pixels.

    Attributes:
        feature: channels, height and width of the feature map.
        width: channels of the output.

    Raises:
        SpaceError: a size is not in a sensible range.
    """

    feature: Shape
    width: int

    def __post_init__(self) -> None:
        require_types(self)
        require_feature(self, "feature", self.feature)
        require_range(self, "width", 1, MOST)

    @property
    def key(self) -> str:
        """Family, feature map and width."""
        return f"{self.family}({feature_text(self.feature)},w={self.width})"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The feature map."""
        return (self.feature,)

    @property
    def output_shape(self) -> Shape:
        """As many pixels, in the width."""
        return (self.width, *self.feature[1:])


def require_feature(owner: Block, name: str, feature: Shape) -> None:
    """Raise SpaceError unless the named field of a block is the shape of a feature map."""
    if len(feature) != 3 or not all(1 <= size <= MOST for size in feature):
        raise SpaceError(
            f"{owner.family}.{name} must be channels, height and width from 1 to {MOST}, got {tuple(feature)}"
        )


def require_size(owner: Block, name: str, size: Shape) -> None:
    """Raise SpaceError unless the named field of a block is a height and a width."""
    if len(size) != 2 or not all(1 <= side <= MOST for side in size):
        raise SpaceError(f"{owner.family}.{name} must be height and width from 1 to {MOST}, got {tuple(size)}")


def feature_text(feature: Shape) -> str:
    """Return the shape of a feature map as keys have it."""
    channels, *size = feature
    return f"in={channels},hw={size_text(tuple(size))}"


def size_text(size: Shape) -> str:
    """Return height and width as keys have them."""
    return "x".join(map(str, size))
