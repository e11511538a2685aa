"""Masks in PNG files: a folder of images beside a folder of masks of the same names, a class index per pixel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hwnas.dataflow.annotated import (
    AnnotatedImage,
    Labelled,
    Sized,
    Wishes,
    by_split,
    common_size,
    divided_dataset,
    found_images,
    read_split,
)
from hwnas.dataflow.class_names import NAMES_FILE, read_names
from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.faults import Faults
from hwnas.dataflow.images import read_images, read_mask, size_of_image
from hwnas.dataflow.layouts import known_format, known_layout
from hwnas.dataflow.listing import is_image, visible_folders
from hwnas.dataflow.split_folders import split_named
from hwnas.dataflow.targets import IGNORED
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize

IMAGE_FOLDERS = ("images", "image", "img", "JPEGImages")
MASK_FOLDERS = ("masks", "mask", "annotations", "labels", "SegmentationClass")


def load_masks(
    root: Path, input_size: ImageSize | None, *, skip_broken_images: bool = False, is_grey: bool = False
) -> Dataset:
    """Masks in PNG files: `images/train` beside `masks/train`, or `train/images` and `train/masks`, by equal names.

    A pixel's value (of a palette, or grey) is its class; 255 is ignored. `classes.txt` names the classes, one a line
    from 0; without it they are numbered as far as the masks go. Without test images those of val are, or a fifth is set
    aside. Images are letterboxed; to 320 pixels a side, unless they are all of one size.

    Args:
        root: the folder around images and masks.
        input_size: pixels a side, or height and width.
        skip_broken_images: leave out broken images, and those whose masks are broken, instead of refusing them.
        is_grey: whether images have one channel.

    Raises:
        RequestError: there are no such folders, or a mask is broken; the message has its file.
    """
    wishes = Wishes(input_size=input_size, is_grey=is_grey, faults=Faults(are_skipped=skip_broken_images))
    pairs = {split: list(pair.images(wishes.faults)) for split, pair in _find_pairs(root).items()}
    mask_of = {image.path: mask for found in pairs.values() for image, mask in found}
    found = found_images(root, {split: [image for image, _ in pair] for split, pair in pairs.items()}, wishes.faults)
    size = common_size(found, wishes)
    names = read_names(root / NAMES_FILE) if (root / NAMES_FILE).is_file() else None
    labelled = {s: _labelled(images, mask_of, size, names, wishes.faults) for s, images in found.items()}
    if names is None:
        names = tuple(str(index) for index in range(1 + max(part.most for part in labelled.values())))
    read = {split: read_split(root, part.labelled, size, wishes) for split, part in labelled.items()}
    return divided_dataset("masks", root, read, names, "masks", wishes)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """A folder of images, and one of masks of the same names."""

    image_folder: Path
    mask_folder: Path

    def images(self, faults: Faults) -> Iterator[tuple[AnnotatedImage, Path]]:
        """Yield the images with their masks; those without one are a fault."""
        masks = {path.relative_to(self.mask_folder).with_suffix(""): path for path in _images_in(self.mask_folder)}
        for path in _images_in(self.image_folder):
            mask = masks.get(path.relative_to(self.image_folder).with_suffix(""))
            if mask is None:
                expected = f"a mask {path.stem}.png in {self.mask_folder}"
                faults.add("images without a mask", str(path), f"expected {expected}, found none")
            else:
                yield AnnotatedImage(path=path, where=str(mask)), mask


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_image(path))


def _find_pairs(root: Path) -> dict[str, _Pair]:
    """Return the folders by split: splits in the folders of images and masks, or these in folders of splits."""
    outer = _pair_in(root)
    inside = visible_folders(outer.image_folder) if outer else visible_folders(root) if root.is_dir() else []
    found: list[tuple[str | None, _Pair]] = []
    for folder in inside:
        split = split_named(*re.findall("[a-z]+", folder.name.lower()))
        pair = outer and _Pair(image_folder=folder, mask_folder=outer.mask_folder / folder.name)
        if split is not None and (pair := pair or _pair_in(folder)) is not None and pair.mask_folder.is_dir():
            found.append((split, pair))
    if not found and outer:
        found = [(None, outer)]
    if not found:
        expected = "images/train and masks/train, or train/images and train/masks"
        raise RequestError(
            known_layout(root, reader="masks")
            or known_format(root)
            or f"no images beside masks in {root}: expected {expected}; name the folder around them with --data-root"
        )
    return by_split(found, root, "folder of images")


def _pair_in(folder: Path) -> _Pair | None:
    images = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)
    masks = next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)
    return _Pair(image_folder=images, mask_folder=masks) if images and masks else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Masks:
    """Images with their masks, and the highest class of these."""

    labelled: Labelled
    most: int


def _labelled(
    found: Sequence[Sized],
    mask_of: Mapping[Path, Path],
    size: tuple[int, int],
    names: Sequence[str] | None,
    faults: Faults,
) -> _Masks:
    """Return the images whose masks can be read, with these."""
    as_large = [sized for sized in found if _is_as_large(sized, mask_of[sized.image.path], faults)]
    paths = [mask_of[sized.image.path] for sized in as_large]
    decoded = read_images(paths, (1, *size), skip_broken=faults.are_skipped, read=read_mask)
    good, most = [], 0
    for position, path in enumerate(paths):
        if position in decoded.broken:
            faults.add("unreadable masks", str(path), decoded.broken[position])
            continue
        mask = decoded.images_NCHW[position]
        highest = int(mask[mask != IGNORED].max()) if (mask != IGNORED).any() else 0
        if names is not None and highest >= len(names):
            expected = f"classes of 0 to {len(names) - 1}, or 255 for ignored"
            faults.add("masks of an unknown class", str(path), f"expected {expected}, found {highest}")
            continue
        good.append(position)
        most = max(most, highest)
    masks = decoded.images_NCHW[:, 0]
    kept = masks if len(good) == len(masks) else masks[torch.from_numpy(np.array(good, dtype=np.int64))]
    return _Masks(labelled=Labelled(images=[as_large[position] for position in good], targets=kept), most=most)


def _is_as_large(sized: Sized, mask: Path, faults: Faults) -> bool:
    try:
        size = size_of_image(mask)
    except RequestError as error:
        faults.add("unreadable masks", str(mask), f"cannot read the mask: {error}")
        return False
    if size != sized.size:
        expected, found = (f"{width}x{height} pixels" for height, width in (sized.size, size))
        faults.add("masks of another size", str(mask), f"expected {expected} as {sized.image.path} has, found {found}")
    return size == sized.size
