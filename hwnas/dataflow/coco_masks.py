"""Masks drawn from the outlines in COCO's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.dataflow.annotated import (
    MOST_OUTSIDE,
    Labelled,
    Sized,
    Wishes,
    common_size,
    divided_dataset,
    found_images,
    read_split,
)
from hwnas.dataflow.coco import CocoObject, read_coco
from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.faults import Faults
from hwnas.dataflow.letterbox import Letterbox
from hwnas.dataflow.outlines import drawn
from hwnas.dataflow.targets import IGNORED
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize

BACKGROUND = "background"


def load_coco_masks(
    root: Path, input_size: ImageSize | None, *, skip_broken_images: bool = False, is_grey: bool = False
) -> Dataset:
    """Masks drawn from the polygons or run lengths in COCO's JSON, found as `coco` finds it; class 0 is the background.

    Crowds, and pixels of objects of different classes, are ignored, as torchvision's reference does.

    Args:
        root: the folder around files and images.
        input_size: pixels a side, or height and width.
        skip_broken_images: leave out broken annotations and images instead of refusing them.
        is_grey: whether images have one channel.

    Raises:
        RequestError: there are no such files, or annotations are broken; the message has their file and id.
    """
    wishes = Wishes(input_size=input_size, is_grey=is_grey, faults=Faults(are_skipped=skip_broken_images))
    data = read_coco(root, wishes.faults)
    if BACKGROUND in data.classes:
        raise RequestError(f"{root} has a category {BACKGROUND!r}, as pixels without objects are called: rename it")
    found = found_images(root, {s: [i.image for i in images] for s, images in data.splits.items()}, wishes.faults)
    objects = {i.image.where: i.objects for images in data.splits.values() for i in images}
    size = common_size(found, wishes)
    read = {
        split: read_split(root, _labelled(images, objects, size, wishes.faults), size, wishes)
        for split, images in found.items()
    }
    dataset = divided_dataset("coco-masks", root, read, (BACKGROUND, *data.classes), "masks", wishes)
    if not data.num_crowds:
        return dataset
    remark = f"{root}: the pixels of {data.num_crowds} crowds (iscrowd) are ignored"
    return replace(dataset, remarks=(*dataset.remarks, remark))


def _labelled(
    images: Sequence[Sized], objects: Mapping[str, Sequence[CocoObject]], size: tuple[int, int], faults: Faults
) -> Labelled:
    masks = torch.empty(len(images), *size, dtype=torch.uint8)
    for mask, sized in zip(masks.numpy(), images, strict=True):
        _draw(mask, sized, objects[sized.image.where], faults)
    return Labelled(images=images, targets=masks)


def _draw(mask: NDArray[np.uint8], sized: Sized, objects: Sequence[CocoObject], faults: Faults) -> None:
    """Fill a mask: ignored beside the image, where crowds are, and where objects of two classes are."""
    place = Letterbox.of(sized.size, (mask.shape[0], mask.shape[1]))
    mask[:] = IGNORED
    inside = mask[place.top : place.top + place.height, place.left : place.left + place.width]
    inside[:] = 0
    for found in objects:
        try:
            region = drawn(found.fields.get("segmentation"), place, most_outside=MOST_OUTSIDE)
        except ValueError as error:
            faults.add("broken outlines", found.where, str(error))
            continue
        value = IGNORED if found.is_crowd else found.class_index + 1
        is_free = (inside == 0) | (inside == value)
        inside[region] = np.where(is_free, value, IGNORED)[region]
