"""Small pictures of images and masks, as text that pages and records can hold."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass

import torch
from PIL import Image

from hwnas.artifacts.shown import colour_of
from hwnas.dataflow.targets import IGNORED

MOST_PIXELS = 160
"""Pixels along the longer side of a picture, at most: a report of a dozen stays below two megabytes of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """A picture of an image.

    Attributes:
        png: as base64.
        scale: pixels of the picture for one of the image.
    """

    png: str
    width: int
    height: int
    scale: float


def thumbnail(image_CHW: torch.Tensor) -> Thumbnail:
    """Return a picture of an image; of other than three channels the first is shown, in grey.

    Floats are shown from their least, in black, to their largest.
    """
    if image_CHW.dtype != torch.uint8:
        low, high = image_CHW.min(), image_CHW.max()
        image_CHW = ((image_CHW - low) * (255 / (high - low).clamp(min=1e-12))).round().to(torch.uint8)
    is_coloured = len(image_CHW) == 3
    pixels = image_CHW.permute(1, 2, 0) if is_coloured else image_CHW[0]
    picture = Image.fromarray(pixels.contiguous().numpy())
    scale = min(1.0, MOST_PIXELS / max(picture.size))
    if scale < 1.0:
        picture = picture.resize(_size(picture, scale), Image.Resampling.BILINEAR)
    return Thumbnail(png=_as_png(picture), width=picture.width, height=picture.height, scale=scale)


def mask_png(mask_HW: torch.Tensor) -> str:
    """Return a picture of a uint8 mask, of the size of its image's: the colours of classes, nothing where ignored."""
    picture = Image.fromarray(mask_HW.contiguous().numpy())
    scale = min(1.0, MOST_PIXELS / max(picture.size))
    if scale < 1.0:
        picture = picture.resize(_size(picture, scale), Image.Resampling.NEAREST)
    picture.putpalette([part for kind in range(256) for part in colour_of(kind)])
    return _as_png(picture, transparency=IGNORED)


def _size(picture: Image.Image, scale: float) -> tuple[int, int]:
    return max(1, round(scale * picture.width)), max(1, round(scale * picture.height))


def _as_png(picture: Image.Image, **settings: int) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True, **settings)
    return b64encode(file.getvalue()).decode()
