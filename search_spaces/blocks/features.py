"""Shapes of feature maps as fields of blocks: channels, height and width."""

from __future__ import annotations

from search_spaces.block import MOST, Block, Shape
from search_spaces.errors import SpaceError


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
