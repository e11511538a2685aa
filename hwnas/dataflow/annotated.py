"""Images with annotations, whatever format these were in: checked, decoded, and divided as a data set."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.augmentation import Augmentation
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.dataflow.faults import Faults
from hwnas.dataflow.images import read_images, read_whole_image, size_of_image, strict_about_bombs
from hwnas.dataflow.letterbox import Letterbox
from hwnas.dataflow.targets import NO_BOX, TargetKind
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize, height_width

TEST_PORTION = 0.2
DEFAULT_SIZE = 320
"""Pixels a side of images of several sizes, where no input size is asked for: usual for detectors on small devices."""

MOST_OUTSIDE = 1.0
"""Pixels by which annotations reach out of their image without a fault, by rounding for example; they are cut."""

AUGMENTATIONS: Mapping[TargetKind, Augmentation] = {
    "boxes": Augmentation(scale=0.5, flip=True, colour=0.3, mosaic=0.5),
    "masks": Augmentation(scale=0.5, flip=True, colour=0.3),
}

MOST_BOXES = 2000
"""Boxes of an image at most: all images have room for as many as the fullest one, which may be a damaged file's."""

LEAST_SIDE = 0.01
"""Pixels of a side below which a box is empty."""

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """An annotated box: class index, corners in pixels of its image, and its place in a file for messages."""

    class_index: int
    corners: tuple[float, float, float, float]
    where: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotatedImage:
    """An image with what is known of it.

    Attributes:
        where: the place that names it, for messages.
        size: height and width that the annotations claim; None where they claim none.
        boxes: what it shows; empty where nothing is annotated.
    """

    path: Path
    where: str
    size: tuple[int, int] | None = None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """Says how images are read: at which size, in how many channels; where what is broken goes."""

    input_size: ImageSize | None
    is_grey: bool
    faults: Faults

    @property
    def num_channels(self) -> int:
        """Colour planes."""
        return 1 if self.is_grey else 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Sized:
    """An annotated image with the height and width that it was found to have."""

    image: AnnotatedImage
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labelled:
    """Images with their targets, in this order."""

    images: Sequence[Sized]
    targets: torch.Tensor


def boxes_dataset(
    name: str, root: Path, splits: Mapping[str, Sequence[AnnotatedImage]], classes: Sequence[str], wishes: Wishes
) -> Dataset:
    """Return the images, letterboxed to one size, and their boxes.

    Raises:
        RequestError: an image or a box is broken, unless those are skipped; or a split has none that are not.
    """
    checked = {
        split: [s for s in (_with_good_boxes(s, wishes.faults) for s in found) if _has_room(s, wishes.faults)]
        for split, found in found_images(root, splits, wishes.faults).items()
    }
    size = common_size(checked, wishes)
    most = max((len(sized.image.boxes) for found in checked.values() for sized in found), default=0)
    read = {}
    for split, found in checked.items():
        boxes = np.array([_placed_boxes(sized, size, max(1, most)) for sized in found], dtype=np.float32)
        read[split] = read_split(root, Labelled(images=found, targets=torch.from_numpy(boxes)), size, wishes)
    return divided_dataset(name, root, read, classes, "boxes", wishes)


def found_images(root: Path, splits: Mapping[str, Sequence[AnnotatedImage]], faults: Faults) -> dict[str, list[Sized]]:
    """Return the images that are there and as large as is claimed, by split, in the order of their paths.

    Raises:
        RequestError: an image is broken, unless those are skipped; or a split has none that are not.
    """
    named: dict[Path, str] = {}
    found = {}
    for split, images in splits.items():
        once = []
        for image in sorted(images, key=lambda image: image.path):
            if image.path in named:
                faults.add(
                    "images named twice",
                    image.where,
                    f"expected every image once, found {image.path} again (first: {named[image.path]})",
                )
                continue
            named[image.path] = image.where
            once.append(image)
        found[split] = list(_sized(once, faults))
        if not found[split]:
            raise RequestError(f"{root}: expected images for the split {split}, found none that can be used; add some")
    return found


def _sized(images: Sequence[AnnotatedImage], faults: Faults) -> Iterator[Sized]:
    def size_or_reason(image: AnnotatedImage) -> tuple[int, int] | str:
        try:
            return size_of_image(image.path)
        except RequestError as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool, strict_about_bombs():
        sizes = list(pool.map(size_or_reason, images))
    for image, size in zip(images, sizes, strict=True):
        if not image.path.exists():
            faults.add("images that are missing", image.where, f"expected the image {image.path}, found none")
        elif isinstance(size, str):
            faults.add("unreadable images", image.where, f"cannot read the image {image.path}: {size}")
        elif image.size is not None and image.size != size:
            claimed, real = (f"{s[1]}x{s[0]} pixels" for s in (image.size, size))
            faults.add(
                "images of another size than annotated",
                image.where,
                f"expected an image of {claimed}, found {image.path} of {real}",
            )
        else:
            yield Sized(image=image, size=size)


def _with_good_boxes(sized: Sized, faults: Faults) -> Sized:
    good = tuple(box for box in (_checked(box, sized.size, faults) for box in sized.image.boxes) if box is not None)
    return replace(sized, image=replace(sized.image, boxes=good))


def _checked(box: Box, size: tuple[int, int], faults: Faults) -> Box | None:
    """Return the box cut to its image; None where it is broken."""
    x1, y1, x2, y2 = box.corners
    found = f"found x {x1:g} to {x2:g}, y {y1:g} to {y2:g}"
    if not all(math.isfinite(value) for value in box.corners):
        faults.add("boxes that are not numbers", box.where, f"expected finite numbers, {found}")
        return None
    if x2 < x1 or y2 < y1:
        faults.add(
            "inverted boxes", box.where, f"expected the left edge before the right, the upper before the lower, {found}"
        )
        return None
    height, width = size
    if min(x1, y1) < -MOST_OUTSIDE or x2 > width + MOST_OUTSIDE or y2 > height + MOST_OUTSIDE:
        faults.add("boxes outside of their image", box.where, f"expected a box within {width}x{height} pixels, {found}")
        return None
    corners = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
    if min(corners[2] - corners[0], corners[3] - corners[1]) < LEAST_SIDE:
        faults.add("empty boxes", box.where, f"expected a width and a height above 0, {found}")
        return None
    return replace(box, corners=corners)


def _has_room(sized: Sized, faults: Faults) -> bool:
    """Return whether an image has no more boxes than there may be."""
    num = len(sized.image.boxes)
    if num > MOST_BOXES:
        expected = f"expected {MOST_BOXES} boxes on an image at most"
        faults.add("images with too many boxes", sized.image.where, f"{expected}, found {num} on {sized.image.path}")
    return num <= MOST_BOXES


def common_size(splits: Mapping[str, Sequence[Sized]], wishes: Wishes) -> tuple[int, int]:
    """Return height and width: those asked for, those that all images have, or the default."""
    if wishes.input_size is not None:
        return height_width(wishes.input_size)
    sizes = {sized.size for found in splits.values() for sized in found}
    return sizes.pop() if len(sizes) == 1 else (DEFAULT_SIZE, DEFAULT_SIZE)


def _placed_boxes(sized: Sized, size: tuple[int, int], num_rows: int) -> NDArray[np.float32]:
    """Return [num_rows, 5] the boxes where their letterboxed image has them."""
    rows = np.zeros((num_rows, 5), dtype=np.float32)
    rows[:, 0] = NO_BOX
    place = Letterbox.of(sized.size, size)
    for row, box in zip(rows, sized.image.boxes, strict=False):
        row[:] = (box.class_index, *place.point(*box.corners[:2]), *place.point(*box.corners[2:]))
    return rows


def read_split(root: Path, labelled: Labelled, size: tuple[int, int], wishes: Wishes) -> Split:
    """Return the images, letterboxed, with their targets; without those that cannot be decoded.

    Raises:
        RequestError: an image is broken, unless those are skipped, or all are.
    """
    paths = [sized.image.path for sized in labelled.images]
    shape = (wishes.num_channels, *size)
    decoded = read_images(paths, shape, skip_broken=wishes.faults.are_skipped, read=read_whole_image)
    for position, reason in sorted(decoded.broken.items()):
        wishes.faults.add("unreadable images", str(paths[position]), reason)
    good = np.array([position for position in range(len(paths)) if position not in decoded.broken], dtype=np.int64)
    if not len(good):
        raise RequestError(f"{root}: expected images of a split, found none that can be used; mend them")
    whole = Split(images_NCHW=decoded.images_NCHW, targets_N=labelled.targets, is_on_disk=decoded.is_on_disk)
    return whole.subset(good) if decoded.broken else whole


def divided_dataset(
    name: str, root: Path, splits: Mapping[str, Split], classes: Sequence[str], kind: TargetKind, wishes: Wishes
) -> Dataset:
    """Return the data set of splits; where there is none for the test, validation is, or a fifth is set aside."""
    parts = dict(splits)
    remarks = list(wishes.faults.remarks(root))
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
        remarks.append(f"{root} has no test images: those of val are the test")
    elif "test" not in parts:
        parts["test"], parts["train"] = parts["train"].divided(TEST_PORTION, np.random.default_rng(0))
        remarks.append(f"{root} has training images alone: a fifth is set aside for the test, always the same")
    return Dataset(
        name=name,
        classes=tuple(classes),
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts["test"],
        augmentation=AUGMENTATIONS[kind],
        remarks=tuple(remarks),
        target_kind=kind,
    )


def by_split(found: Iterable[tuple[str | None, Item]], root: Path, what: str) -> dict[str, Item]:
    """Return what was found by split; one thing that names none is all there is to train on.

    Raises:
        RequestError: several are of one split, or none is to train on.
    """
    listed = list(found)
    if len(listed) == 1 and listed[0][0] is None:
        return {"train": listed[0][1]}
    splits: dict[str, Item] = {}
    for split, item in listed:
        if split in splits:
            raise RequestError(f"{root}: expected one {what} for {split}, found {splits[split]} and {item}; remove one")
        if split is not None:
            splits[split] = item
    if "train" not in splits:
        named = ", ".join(str(item) for _, item in listed)
        raise RequestError(f"{root}: expected a {what} to train on, found {named}; name one of them train")
    return splits
