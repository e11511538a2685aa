"""One's own images: a folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hwnas.dataflow.augmentation import Augmentation
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.errors import RequestError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
TEST_PORTION = 0.2


def load_folder(root: Path, input_size: int | None) -> Dataset:
    """Images of `root/train/CLASS/` and `root/test/CLASS/`, or of `root/CLASS/` with a fifth of each for the test.

    Each is cropped to its central square and resized, to 64 pixels unless an input size is given, and kept in RGB.
    """
    size = input_size or 64
    if not root.is_dir():
        raise RequestError(f"no folder {root}; name one that has a folder of images per class with --data-root")
    if (root / "train").is_dir() and (root / "test").is_dir():
        classes = _class_names(root / "train")
        if unknown := set(_class_names(root / "test")) - set(classes):
            raise RequestError(f"{root / 'test'} has classes that {root / 'train'} lacks: {', '.join(sorted(unknown))}")
        train = _read(root / "train", classes, size)
        test = _read(root / "test", classes, size)
    else:
        classes = _class_names(root)
        train, test = _divide(_read(root, classes, size), root)
    augmentation = Augmentation(shift=max(1, size // 8), flip=True)
    return Dataset(name="folder", classes=tuple(classes), train=train, test=test, augmentation=augmentation)


def _class_names(folder: Path) -> list[str]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        raise RequestError(f"expected at least two class folders in {folder}, found {len(names)}")
    return names


def _read(folder: Path, classes: Sequence[str], size: int) -> Split:
    images, targets = [], []
    for index, name in enumerate(classes):
        inside = folder / name
        for path in sorted(inside.rglob("*")) if inside.is_dir() else []:
            if path.suffix.lower() in SUFFIXES:
                images.append(_read_image(path, size))
                targets.append(index)
    if not images:
        raise RequestError(
            f"no images in the class folders of {folder}; their names end in {', '.join(sorted(SUFFIXES))}"
        )
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Split(images_NCHW=stacked, targets_N=torch.tensor(targets, dtype=torch.int64))


def _read_image(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise RequestError(f"cannot read the image {path}: {error}") from error


def _divide(whole: Split, root: Path) -> tuple[Split, Split]:
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(
            np.arange(len(whole)), test_size=TEST_PORTION, stratify=whole.targets_N.numpy(), random_state=0
        )
    except ValueError as error:
        raise RequestError(f"cannot set a fifth of each class of {root} aside for the test: {error}") from error
    return whole.subset(train), whole.subset(test)
