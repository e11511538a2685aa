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
PAIRS = "pairs.txt"

MOST_IN_MEMORY = 2**30
"""Bytes of images beyond which they are mapped from a file."""

DECODED_AT_ONCE = 1024


def load_folder(root: Path, input_size: int | None) -> Dataset:
    """Images of `root/train/CLASS/` and `root/test/CLASS/`, or of `root/CLASS/` with a fifth of each for the test.

    The test's classes may all be others than those trained on, for tasks judged on new identities; `root/pairs.txt`
    then says which images are compared.

    Each is cropped to its central square and resized, to 64 pixels unless an input size is given, and kept in RGB. More
    than a gigabyte of them is kept in a file of the user's cache folder and mapped into memory; the next run finds it
    there as long as no image changes.
    """
    size = input_size or 64
    pairs = None
    if not root.is_dir():
        raise RequestError(f"no folder {root}; name one that has a folder of images per class with --data-root")
    if (root / "train").is_dir() and (root / "test").is_dir():
        classes, tested = _class_names(root / "train"), _class_names(root / "test")
        unknown = [name for name in tested if name not in classes]
        if unknown and len(unknown) < len(tested):
            raise RequestError(f"{root / 'test'} has classes that {root / 'train'} lacks: {', '.join(unknown)}")
        classes += unknown  # identities that are all new
        train, _ = _read(root / "train", classes, size)
        test, paths = _read(root / "test", classes, size)
        if (root / PAIRS).is_file():
            pairs = _read_pairs(root / PAIRS, root / "test", paths)
    else:
        classes = _class_names(root)
        whole, _ = _read(root, classes, size)
        train, test = _divide(whole, root)
    return Dataset(
        name="folder",
        classes=tuple(classes),
        train=train,
        test=test,
        augmentation=Augmentation(shift=max(1, size // 8), flip=True),
        test_pairs=pairs,
    )


def _read_pairs(path: Path, folder: Path, images: Sequence[Path]) -> torch.Tensor:
    """[num, 2] positions of the images that each line names.

    By their paths within the folder, or as Labeled Faces in the Wild does: `NAME 1 4` are NAME/NAME_0001 and
    NAME/NAME_0004, `NAME 1 OTHER 2` are of two people.
    """
    position_of = {str(image.relative_to(folder).with_suffix("")): i for i, image in enumerate(images)}
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words or all(word.isdigit() for word in words):
            continue  # LFW's first line counts the others
        if len(words) == 2:
            names = [str(Path(word).with_suffix("")) for word in words]
        elif len(words) in (3, 4) and words[1].isdigit() and words[-1].isdigit():
            people = (words[0], words[0] if len(words) == 3 else words[2])
            names = [f"{name}/{name}_{int(i):04d}" for name, i in zip(people, (words[1], words[-1]), strict=True)]
        else:
            expected = "two images, or NAME 1 4, or NAME 1 OTHER 2"
            raise RequestError(f"{path}, line {number}: expected {expected}, got {line!r}")
        if missing := [name for name in names if name not in position_of]:
            raise RequestError(f"{path}, line {number}: no image {missing[0]} in {folder}")
        found.append([position_of[name] for name in names])
    if not found:
        raise RequestError(f"{path} names no pairs")
    return torch.tensor(found, dtype=torch.int64)


def _class_names(folder: Path) -> list[str]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        raise RequestError(f"expected at least two class folders in {folder}, found {len(names)}")
    return names


def _read(folder: Path, classes: Sequence[str], size: int) -> tuple[Split, list[Path]]:
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
    split = Split(images_NCHW=images, targets_N=torch.tensor(targets, dtype=torch.int64), is_on_disk=is_on_disk)
    return split, paths


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
