"""The record of what is done to training images at random; configurations name it, and it imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Random changes of images, made by `hwnas.dataflow.augmentation`; all of them are off by default.

    The usual augmentation for CIFAR (He et al. 2016) is `Augmentation(shift=4, flip=True)`, for ImageNet
    `Augmentation(crop=0.08, flip=True)`. Boxes and masks move along; what comes from outside of an image is grey there,
    and black elsewhere.

    Attributes:
        crop: smallest share of the area that a random crop keeps, at aspect ratios of 3/4 to 4/3, before it is resized
            to the whole (Szegedy et al. 2015); 0 for no cropping.
        shift: pixels that images move at most, over a zero border.
        flip: half of the images horizontally.
        random_erasing: probability that a rectangle of 2 to 33 % of the image becomes noise (Zhong et al. 2020). For
            classes only, as it would hide what boxes and masks show.
        operations: of `OPERATIONS` on each image, drawn at random (Cubuk et al. 2020, RandAugment).
        magnitude: how strong these are, 0 to 1.
        cutout: pixels a side of a square that takes the image's mean colour (DeVries and Taylor 2017); 0 for none. For
            classes only, likewise.
        scale: images are enlarged or reduced by factors of 1 - scale to 1 + scale, and lie somewhere; 0 for neither.
        colour: brightness, contrast and saturation change by this share at most.
        mosaic: share of the images that four images are put together to (Bochkovskiy et al. 2020); for boxes and masks.
    """

    crop: float = 0.0
    shift: int = 0
    flip: bool = False
    random_erasing: float = 0.0
    operations: int = 0
    magnitude: float = 0.3
    cutout: int = 0
    scale: float = 0.0
    colour: float = 0.0
    mosaic: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.crop < 1 or not 0 <= self.magnitude <= 1:
            raise ValueError(f"crop and magnitude are shares of 1, got {self.crop} and {self.magnitude}")
        if not 0 <= self.random_erasing <= 1:
            raise ValueError(f"random_erasing is a probability, 0 to 1, got {self.random_erasing}")
        if min(self.shift, self.operations, self.cutout) < 0:
            raise ValueError("shift, operations and cutout must be at least 0")
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale is a share of 1, below 1, got {self.scale}")
        for name in ("colour", "mosaic"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, 0 to 1, got {getattr(self, name)}")
