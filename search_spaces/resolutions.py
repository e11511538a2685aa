"""Sizes of images to choose from, and what brings images to one of them."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from onnx_models.image_size import ImageSize, height_width, image_size, size_text
from search_spaces.errors import SpaceError


class Resized(nn.Module):
    """Brings images to a size, by antialiased bilinear interpolation; those of that size pass as they are.

    A network behind it takes the images of any data, and is exported for images of its own size.
    """

    def __init__(self, size: ImageSize) -> None:
        super().__init__()
        self.size = height_width(size)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        if tuple(x_NCHW.shape[2:]) == self.size:
            return x_NCHW
        return functional.interpolate(x_NCHW, size=self.size, mode="bilinear", antialias=True)


def smaller_sizes(own: ImageSize, asked: tuple[ImageSize, ...]) -> tuple[ImageSize, ...]:
    """Return the sizes that are asked for besides the own one.

    Args:
        own: of the images of a network or a space.
        asked: that first, then smaller ones of the same ratio of height and width; of images that are not square, one
            number stands for the height.

    Raises:
        SpaceError: they are not.
    """
    height, width = height_width(own)
    sizes = [
        image_size(size, round(size * width / height)) if isinstance(size, int) and size != own else size
        for size in asked
    ]
    words = ", ".join(size_text(size) for size in asked)
    if len(sizes) == 1 and sizes[0] == own:
        raise SpaceError(f"expected two resolutions or more, got {words} alone, which leaves no choice")
    if len(sizes) < 2 or sizes[0] != own:
        raise SpaceError(f"expected resolutions that begin with the images' own size, {size_text(own)}, got {words}")
    for before, after in pairwise(sizes):
        (high, wide), (low, narrow) = height_width(before), height_width(after)
        if not (low < high and 0 < narrow < wide):
            raise SpaceError(f"expected resolutions each smaller than the one before, such as 96,80,64, got {words}")
        if abs(narrow - low * width / height) >= 1:
            raise SpaceError(
                f"expected resolutions of one ratio of height and width, that of {size_text(own)}, got {words}"
            )
    return tuple(sizes[1:])
