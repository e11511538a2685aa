"""What the winner says of test images, as far as the report shows it."""

from __future__ import annotations

import colorsys
from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.records import READ_IN_PART, Count

Group = Literal["mistake", "worst", "typical"]


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class ShownBox:
    """A box on an image.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the picture.
        score: None for a target.
    """

    kind: Count
    box: tuple[float, float, float, float]
    score: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class ShownView:
    """One of the two things to be seen on a picture: what is there, or what the network says is.

    Attributes:
        kind: the class of the whole image; None where it has none.
        mask: a PNG in the colours of the classes as base64, transparent where pixels have no class; "" for none.
    """

    kind: Count | None = None
    boxes: tuple[ShownBox, ...] = ()
    mask: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class ShownImage:
    """A test image with its target and the prediction.

    Attributes:
        group: why it is shown.
        png: the picture as base64, `width` by `height` pixels; large images are made smaller.
        score: of this image; the probability of what was predicted, of mistakes.
    """

    group: Group
    png: str
    width: Count
    height: Count
    score: Annotated[float, Field(ge=0, le=1)]
    target: ShownView
    prediction: ShownView


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class ShownPredictions:
    """Holds what the winner says of test images.

    Attributes:
        measure: what the score of an image is, in words.
        num_images: that were looked at.
        confusion: the class that images are of, the one that they were taken for, and how many; those that there are.
    """

    classes: tuple[str, ...]
    measure: str
    num_images: Count
    confusion: tuple[tuple[Count, Count, Count], ...] = ()
    images: tuple[ShownImage, ...] = ()
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        views = [view for image in self.images for view in (image.target, image.prediction)]
        kinds = [view.kind for view in views if view.kind is not None]
        kinds += [box.kind for view in views for box in view.boxes]
        kinds += [kind for *pair, _ in self.confusion for kind in pair]
        if kinds and max(kinds) >= len(self.classes):
            raise ValueError(f"expected classes 0 to {len(self.classes) - 1}, got {max(kinds)}")

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        return asdict(self)


def colour_of(kind: int) -> tuple[int, int, int]:
    """Return the colour of a class, red, green and blue; a golden angle apart, so that those of neighbours differ."""
    red, green, blue = colorsys.hsv_to_rgb((0.11 + kind * 0.618) % 1.0, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
