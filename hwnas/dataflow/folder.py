"""One's own images: a folder per class."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from platformdirs import user_cache_path

from hwnas.dataflow.augmentation import Augmentation
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.errors import RequestError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
TEST_PORTION = 0.2

MOST_IN_MEMORY = 2**30
"""Bytes of images beyond which they are mapped from a file."""

DECODED_AT_ONCE = 1024


def load_folder(root: Path, input_size: int | None) -> Dataset:
    """Images of `root/train/CLASS/` and `root/test/CLASS/`, or of `root/CLASS/` with a fifth of each for the test.

    Each is cropped to its central square and resized, to 64 pixels unless an input size is given, and kept in RGB. More
    than a gigabyte of them is kept in a file of the user's cache folder and mapped into memory; the next run finds it
    there as long as no image changes.
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
    paths, targets = [], []
    for index, name in enumerate(classes):
        inside = folder / name
        for path in sorted(inside.rglob("*")) if inside.is_dir() else []:
            if path.suffix.lower() in SUFFIXES:
                paths.append(path)
                targets.append(index)
    if not paths:
        raise RequestError(
            f"no images in the class folders of {folder}; their names end in {', '.join(sorted(SUFFIXES))}"
        )
    shape = (len(paths), 3, size, size)
    is_on_disk = math.prod(shape) > MOST_IN_MEMORY
    images = _mapped(paths, shape) if is_on_disk else torch.empty(shape, dtype=torch.uint8)
    if not is_on_disk:
        _fill(images.numpy(), paths, size)
    return Split(images_NCHW=images, targets_N=torch.tensor(targets, dtype=torch.int64), is_on_disk=is_on_disk)


def _mapped(paths: Sequence[Path], shape: tuple[int, int, int, int]) -> torch.Tensor:
    """The images in a file named by what they are, written first where it is not there."""
    facts = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    digest = hashlib.sha256(json.dumps([shape, facts]).encode()).hexdigest()
    target = user_cache_path("hwnas") / "images" / f"{digest[:32]}.u8"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".draft-", delete=False) as draft:
            pass
        try:
            stored = np.memmap(draft.name, np.uint8, "w+", shape=shape)
            _fill(stored, paths, shape[2])
            stored.flush()
            Path(draft.name).replace(target)
        finally:
            Path(draft.name).unlink(missing_ok=True)
    return torch.from_file(str(target), shared=False, size=math.prod(shape), dtype=torch.uint8).view(shape)


def _fill(images_NCHW: NDArray[np.uint8], paths: Sequence[Path], size: int) -> None:
    """Decode all images, on all cores: Pillow lets other threads run meanwhile."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), DECODED_AT_ONCE):
            chunk = paths[start : start + DECODED_AT_ONCE]
            for position, image in enumerate(pool.map(lambda path: _read_image(path, size), chunk), start=start):
                images_NCHW[position] = image.transpose(2, 0, 1)


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
