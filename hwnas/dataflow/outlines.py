"""Regions of COCO's segmentations, polygons and run lengths, drawn at another size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hwnas.dataflow.letterbox import Letterbox

SUPERSAMPLES = 3
"""Polygons are drawn so many times as large, and the middle of each pixel is taken: Pillow draws whole outlines."""


def drawn(segmentation: Any, place: Letterbox, *, most_outside: float) -> NDArray[np.bool_]:
    """Return [place.height, place.width] which pixels of a letterboxed image are within a region.

    Args:
        segmentation: a list of polygons (x1, y1, x2, y2, x3, y3, ...), or run lengths with their size.
        most_outside: pixels that points may lie outside of the image.

    Raises:
        ValueError: it is neither; the message says what was expected and found.
    """
    if isinstance(segmentation, dict):
        whole = Image.fromarray(_runs(segmentation, place.before))
        return np.asarray(whole.resize((place.width, place.height), Image.Resampling.NEAREST))
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(f"expected polygons or run lengths, found {str(segmentation)[:100]}")
    canvas = Image.new("1", (place.width * SUPERSAMPLES, place.height * SUPERSAMPLES))
    draw = ImageDraw.Draw(canvas)
    for polygon in segmentation:
        draw.polygon(_points(polygon, place, most_outside), fill=1)
    return np.asarray(canvas)[SUPERSAMPLES // 2 :: SUPERSAMPLES, SUPERSAMPLES // 2 :: SUPERSAMPLES]


def _points(polygon: Any, place: Letterbox, most_outside: float) -> list[tuple[float, float]]:
    said = polygon if isinstance(polygon, list) else []
    numbers = [number for value in said if (number := as_float(value)) is not None and math.isfinite(number)]
    if len(numbers) < 6 or len(numbers) % 2 or len(numbers) < len(said):
        raise ValueError(f"expected x and y of three points or more, found {str(polygon)[:100]}")
    height, width = place.before
    for most, values in ((width, numbers[::2]), (height, numbers[1::2])):
        if min(values) < -most_outside or max(values) > most + most_outside:
            raise ValueError(
                f"expected points within {width}x{height} pixels, found {min(values):g} to {max(values):g} along a side"
            )
    down, right = place.height * SUPERSAMPLES / height, place.width * SUPERSAMPLES / width
    # Pillow's whole numbers are the middles of pixels.
    return [(x * right - 0.5, y * down - 0.5) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


def as_float(value: object) -> float | None:
    """Return a number of JSON as a float, infinity where it is too large for one; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _runs(segmentation: dict[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return [height, width] what run lengths say: column by column, first those outside."""
    said = segmentation.get("counts")
    counts: Any = _unpacked(said) if isinstance(said, str) else said
    if segmentation.get("size") != list(size):
        raise ValueError(f"expected run lengths of the size {list(size)}, found {str(segmentation.get('size'))[:100]}")
    is_sound = isinstance(counts, list) and all(isinstance(count, int) and count >= 0 for count in counts)
    if not is_sound or sum(counts) != math.prod(size):
        raise ValueError(f"expected run lengths that add up to {math.prod(size)}, found {str(counts)[:100]}")
    is_inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(is_inside, counts).reshape(size[::-1]).T


def _unpacked(text: str) -> Sequence[int]:
    """Return the run lengths of pycocotools' compressed form: five bits a letter, differences from the fourth on."""
    counts: list[int] = []
    value, shift = 0, 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError(f"expected compressed run lengths, found {text[:100]!r}")
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            value -= (1 << shift) if code & 0x10 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return counts
