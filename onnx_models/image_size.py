"""Sizes of images: one number where they are square."""

from __future__ import annotations

ImageSize = int | tuple[int, int]
"""Pixels a side of square images; height and width of others."""


def height_width(size: ImageSize) -> tuple[int, int]:
    """Return the height and the width of images of a size."""
    return (size, size) if isinstance(size, int) else size


def image_size(height: int, width: int) -> ImageSize:
    """Return the size of images of a height and a width."""
    return height if height == width else (height, width)


def size_text(size: ImageSize) -> str:
    """Return a size as people write it: 224, or 128x256 of height and width."""
    return "x".join(map(str, [size] if isinstance(size, int) else size))
