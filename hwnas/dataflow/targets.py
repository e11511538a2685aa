"""The targets of images, by kind: a class per image, boxes with a class each, or a class per pixel.

N images, M boxes of an image at most, H x W pixels. Whatever moves images moves their targets along.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch.nn import functional

from hwnas.augmentation import Augmentation
from hwnas.dataflow.geometry import Move
from hwnas.errors import RequestError

TargetKind = Literal["classes", "boxes", "masks"]

IGNORED = 255
"""The value of mask pixels that are neither learnt nor scored."""

NO_BOX = -1
"""The class of rows that hold no box; the rest of them is 0."""

BORDER = 114
"""The grey beside images of another ratio, and of moved ones that have boxes or masks, as YOLOv5 to YOLO11 have it."""

LEAST_VISIBLE = 0.25
"""The share of a moved box's area that must be left in the image; else the box is dropped."""


OF_PIXELS = ("crop", "scale", "operations", "colour", "cutout", "random_erasing", "mosaic")
"""Changes of images that round to bytes, or know how bright white is."""


class Kind(Protocol):
    """Does what differs between kinds of targets."""

    border: int
    """The value of image pixels that come from outside of an image."""

    def require(self, targets: torch.Tensor, *, num_classes: int, size: tuple[int, int]) -> None:
        """Raise ValueError unless these are targets for images of that height and width, and all classes known."""

    def moved(self, targets: torch.Tensor, move: Move, window: torch.Tensor) -> torch.Tensor:
        """Return the targets of moved images, of which only a window is seen: x1, y1, x2, y2, or [N, 1, 4]."""

    def joined(self, parts: Sequence[torch.Tensor], part_NHW: torch.Tensor) -> torch.Tensor:
        """Return the targets of images put together from parts, where each pixel is of the part that is named."""

    def resized(self, targets: torch.Tensor, before: tuple[int, int], after: tuple[int, int]) -> torch.Tensor:
        """Return the targets of images that are stretched from one height and width to another."""

    def classes(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the classes that are there, int64, each once and in order."""


class Classes:
    """A class per image: int64 [N]."""

    border = 0

    def require(self, targets: torch.Tensor, *, num_classes: int, size: tuple[int, int]) -> None:
        """Raise ValueError for what is no class."""
        if targets.dtype != torch.int64 or targets.ndim != 1:
            raise ValueError(f"classes must be int64 [N], got {targets.dtype}, {targets.ndim} axes")
        least, most = int(targets.min()), int(targets.max())
        if not 0 <= least <= most < num_classes:
            raise ValueError(f"targets must be 0 to {num_classes - 1}, a class each, got {least} to {most}")

    def moved(self, targets: torch.Tensor, move: Move, window: torch.Tensor) -> torch.Tensor:
        """Return the same classes."""
        return targets

    def joined(self, parts: Sequence[torch.Tensor], part_NHW: torch.Tensor) -> torch.Tensor:
        """Raise ValueError: an image of several has no class."""
        raise ValueError("images of several parts have no class: expected boxes or masks")

    def resized(self, targets: torch.Tensor, before: tuple[int, int], after: tuple[int, int]) -> torch.Tensor:
        """Return the same classes."""
        return targets

    def classes(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the classes that are there."""
        found: torch.Tensor = targets.unique()
        return found


class Boxes:
    """Boxes with a class each: float32 [N, M, 5], class, x1, y1, x2, y2 in pixels, class -1 where there is none."""

    border = BORDER

    def require(self, targets: torch.Tensor, *, num_classes: int, size: tuple[int, int]) -> None:
        """Raise ValueError for boxes that are not finite, not within their image, empty, or of an unknown class."""
        if targets.dtype != torch.float32 or targets.ndim != 3 or targets.shape[1] < 1 or targets.shape[2] != 5:
            raise ValueError(f"boxes must be float32 [N, M, 5], got {targets.dtype}, {[*targets.shape]}")
        if not targets.isfinite().all():
            raise ValueError("boxes must be finite numbers, got NaN or infinity")
        boxes = targets[targets[:, :, 0] != NO_BOX]
        class_, x1, y1, x2, y2 = boxes.unbind(dim=1)
        is_unknown = (class_ < 0) | (class_ >= num_classes) | (class_ != class_.round())
        if is_unknown.any():
            found = class_[is_unknown][0].item()
            raise ValueError(f"classes of boxes must be 0 to {num_classes - 1}, or -1 for none, got {found:g}")
        height, width = size
        is_inside = (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height) & (x1 < x2) & (y1 < y2)
        if not is_inside.all():
            first = boxes[~is_inside][0].tolist()
            raise ValueError(f"boxes must have an area within {width}x{height} pixels, got {first}")

    def moved(self, targets: torch.Tensor, move: Move, window: torch.Tensor) -> torch.Tensor:
        """Return the boxes around the moved ones, cut to the window; without those of which too little is left."""
        return _cut(targets, move.corners(targets[:, :, 1:]), window)

    def joined(self, parts: Sequence[torch.Tensor], part_NHW: torch.Tensor) -> torch.Tensor:
        """Return the boxes of all parts, with no more rows than are needed."""
        return _packed(torch.cat(list(parts), dim=1))

    def resized(self, targets: torch.Tensor, before: tuple[int, int], after: tuple[int, int]) -> torch.Tensor:
        """Return the boxes at another scale."""
        down, right = after[0] / before[0], after[1] / before[1]
        scaled = targets * torch.tensor([1.0, right, down, right, down])
        return scaled.minimum(torch.tensor([math.inf, after[1], after[0], after[1], after[0]]))  # despite rounding

    def classes(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the classes that are there."""
        classes: torch.Tensor = targets[:, :, 0].unique()
        return classes[classes != NO_BOX].long()


class Masks:
    """A class per pixel: uint8 [N, H, W], 255 where it is ignored."""

    border = BORDER

    def require(self, targets: torch.Tensor, *, num_classes: int, size: tuple[int, int]) -> None:
        """Raise ValueError for masks of another size than the images, or of unknown classes."""
        if targets.dtype != torch.uint8 or tuple(targets.shape[1:]) != size:
            raise ValueError(f"masks must be uint8 [N, {size[0]}, {size[1]}], got {targets.dtype}, {[*targets.shape]}")
        unknown = [value for value in self.classes(targets).tolist() if value >= num_classes]
        if unknown:
            raise ValueError(f"masks must hold 0 to {num_classes - 1}, or 255 for ignored, got {unknown}")

    def moved(self, targets: torch.Tensor, move: Move, window: torch.Tensor) -> torch.Tensor:
        """Return the moved masks; what comes from outside is ignored."""
        return move.pixels(targets[:, None], IGNORED, "nearest")[:, 0]

    def joined(self, parts: Sequence[torch.Tensor], part_NHW: torch.Tensor) -> torch.Tensor:
        """Return each pixel's class of the part that it shows."""
        return torch.stack(list(parts)).gather(0, part_NHW[None])[0]

    def resized(self, targets: torch.Tensor, before: tuple[int, int], after: tuple[int, int]) -> torch.Tensor:
        """Return the masks with the nearest pixel's class."""
        return functional.interpolate(targets[:, None], size=after, mode="nearest-exact")[:, 0]

    def classes(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the classes that are there, the ignored pixels aside."""
        # A chunk at a time: masks may be mapped from a file.
        counts = sum(torch.bincount(chunk.flatten(), minlength=256) for chunk in targets.split(1024))
        assert isinstance(counts, torch.Tensor)
        return torch.nonzero(counts[:IGNORED])[:, 0]


KINDS: Mapping[TargetKind, Kind] = {"classes": Classes(), "boxes": Boxes(), "masks": Masks()}


def require_suitable(augmentation: Augmentation, kind: TargetKind, *, is_of_pixels: bool = True) -> None:
    """Raise RequestError where changes of images would make targets of that kind wrong, or need pixels."""
    for name in OF_PIXELS:
        if getattr(augmentation, name) and not is_of_pixels:
            raise RequestError(
                f"{name} is for images of pixels, 0 to 255, the data hold floats: set augmentation.{name} to 0; shift "
                "and flip are for floats too"
            )
    if kind == "classes" and augmentation.mosaic:
        raise RequestError("mosaic shows several images in one, which has no class then: set augmentation.mosaic to 0")
    for name in ("cutout", "random_erasing"):
        if kind != "classes" and getattr(augmentation, name):
            raise RequestError(f"{name} hides what {kind} say is there: set augmentation.{name} to 0")


def _cut(boxes_NM5: torch.Tensor, moved_NM4: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Return boxes with other corners, cut to a window; those of which too little is left hold none."""
    least, most = window[..., :2], window[..., 2:]
    low_NM2 = moved_NM4[..., :2].maximum(least).minimum(most)
    high_NM2 = moved_NM4[..., 2:].minimum(most).maximum(least)
    left_NM = (high_NM2 - low_NM2).prod(dim=-1)
    whole_NM = (moved_NM4[..., 2:] - moved_NM4[..., :2]).prod(dim=-1)
    is_kept_NM = (boxes_NM5[..., 0] != NO_BOX) & (left_NM > 0) & (left_NM >= LEAST_VISIBLE * whole_NM)
    cut_NM5 = torch.cat([boxes_NM5[..., :1], low_NM2, high_NM2], dim=-1)
    return torch.where(is_kept_NM[..., None], cut_NM5, torch.tensor([float(NO_BOX), 0.0, 0.0, 0.0, 0.0]))


def _packed(boxes_NM5: torch.Tensor) -> torch.Tensor:
    is_unused_NM = boxes_NM5[..., 0] == NO_BOX
    order_NM = is_unused_NM.int().argsort(dim=1, stable=True)
    most = max(1, int((~is_unused_NM).sum(dim=1).max()))
    return boxes_NM5.gather(1, order_NM[..., None].expand(-1, -1, 5))[:, :most]
