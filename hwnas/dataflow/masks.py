"""Masks in PNG files: a folder of images beside a folder of masks of the same names, a class index per pixel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hwnas.dataflow.annotated import (
    AnnotatedImage,
    Sized,
    Wishes,
    by_split,
    common_size,
    divided_dataset,
    found_images,
    read_split,
    split_named,
)
from hwnas.dataflow.class_names import read_names
from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.faults import Faults
from hwnas.dataflow.images import read_images, read_mask, size_of_image
from hwnas.dataflow.layouts import known_format, known_layout
from hwnas.dataflow.listing import is_image, visible_folders
from hwnas.dataflow.targets import IGNORED
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize

IMAGE_FOLDERS = ("images", "image", "img", "JPEGImages")
MASK_FOLDERS = ("masks", "mask", "annotations", "labels", "SegmentationClass")
NAMES_FILE = "classes.txt"


def load_masks(
    root: Path, input_size: ImageSize | None, *, skip_broken_images: bool = False, is_grey: bool = False
) -> Dataset:
    """Masks in PNG files: `images/train` beside `masks/train`, or `train/images` and `train/masks`, by equal names.

    A pixel's value (of a palette, or grey) is its class; 255 is ignored. `classes.txt` names the classes, one a line from
    0; without it they are numbered as far as the masks go. Without test images those of val are, or a fifth is set
    aside. Images are letterboxed; to 320 pixels a side, unless they are all of one size.

    Args:
        root: the folder around images and masks.
        input_size: pixels a side, or height and width.
        skip_broken_images: leave out images whose masks are broken, and broken images, instead of refusing them.
        is_grey: whether images have one channel.

    Raises:
        RequestError: there are no such folders, or a mask is broken; the message has its file.
    """
    wishes = Wishes(input_size=input_size, is_grey=is_grey, faults=Faults(are_skipped=skip_broken_images))
    folders = _find_folders(root)
    mask_of: dict[Path, Path] = {}
    for pair in folders.values():
        mask_of |= pair.masks()
    splits = {split: list(_with_masks(pair, mask_of, wishes.faults)) for split, pair in folders.items()}
    found = {
        split: [s for s in images if _is_as_large(s, mask_of, wishes.faults)]
        for split, images in found_images(root, splits, wishes.faults).items()
    }
    size = common_size(found, wishes)
    masks = _Masks(size=size, mask_of=mask_of, faults=wishes.faults)
    names = read_names(root / NAMES_FILE) if (root / NAMES_FILE).is_file() else None
    targets = {split: masks.read(images, None if names is None else len(names)) for split, images in found.items()}
    if names is None:
        most = max(int(chunk[chunk != IGNORED].max(initial=0)) for kept in targets.values() for chunk in kept.masks)
        names = tuple(str(index) for index in range(most + 1))
    read = {
        split: read_split(root, kept.images, size, wishes, lambda _, kept=kept: kept.targets)
        for split, kept in targets.items()
    }
    return divided_dataset("masks", root, read, names, "masks", wishes)
