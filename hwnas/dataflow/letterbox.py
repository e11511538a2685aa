"""Images of any ratio within ones of a given size: as large as they fit, in the middle, a border around them."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, kw_only=True, slots=True)
class Letterbox:
    """Where an image lies in one of another size.

    Attributes:
        before, after: height and width of the image itself, and of the one that it lies in.
        left, top, width, height: the place that it takes, in pixels.
    """

    before: tuple[int, int]
    after: tuple[int, int]
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, before: tuple[int, int], after: tuple[int, int]) -> Letterbox:
        """Return the place of an image of one height and width in one of another."""
        scale = min(after[0] / before[0], after[1] / before[1])
        height, width = (max(1, min(round(side * scale), most)) for side, most in zip(before, after, strict=True))
        return cls(
            before=before,
            after=after,
            left=(after[1] - width) // 2,
            top=(after[0] - height) // 2,
            width=width,
            height=height,
        )

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return the place of a point of the image, in pixels of the one that it lies in."""
        return self.left + x * self.width / self.before[1], self.top + y * self.height / self.before[0]

    def image(self, image: Image.Image, *, border: int, resampling: Image.Resampling) -> Image.Image:
        """Return the image where it lies; the rest has one value in all channels."""
        channels = len(image.getbands())
        canvas = Image.new(image.mode, self.after[::-1], border if channels == 1 else (border,) * channels)
        canvas.paste(image.resize((self.width, self.height), resampling), (self.left, self.top))
        return canvas
