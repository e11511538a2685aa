"""One's own images: a folder per class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from hwnas.augmentation import Augmentation
from hwnas.dataflow.copies import num_shared
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.dataflow.images import read_images
from hwnas.dataflow.layouts import known_format, known_layout
from hwnas.dataflow.listing import ClassFolder, list_classes, stray_files
from hwnas.dataflow.pairs import read_pairs
from hwnas.dataflow.split_folders import NAMES, agreed_classes, find_split_folders
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize, height_width

TEST_PORTION = 0.2
DEFAULT_SIZE = 64
PAIRS = "pairs.txt"


def load_folder(
    root: Path, input_size: ImageSize | None, *, skip_broken_images: bool = False, is_grey: bool = False
) -> Dataset:
    """Images of `root/CLASS/`, a fifth of each for the test, or of `root/train/CLASS/`, `root/val/` and `root/test/`.

    Those of val score networks (see `Dataset`); without test they are the test. The classes of a split may all be
    others than those trained on, for tasks scored on new identities; `root/pairs.txt` then says which test images
    are compared.

    Each is cropped to the largest central part of the input's shape and resized, to 64 pixels a side unless an input
    size is given, and kept in RGB, or in grey where asked for. More than a gigabyte of them is kept in a file of the
    user's cache folder and mapped into memory; the next run finds it there as long as no image changes.

    Args:
        root: the folder.
        input_size: pixels a side, or height and width.
        skip_broken_images: leave out what cannot be read instead of refusing it.
        is_grey: whether images have one channel.

    Raises:
        RequestError: there are no such folders, a class has no images, or an image cannot be read.
    """
    height, width = height_width(input_size or DEFAULT_SIZE)
    splits = _find_split_folders(root)
    classes = _agreed_classes(root, splits)
    shape = (1 if is_grey else 3, height, width)
    images = {name: _read(split, classes, shape, skip_broken=skip_broken_images) for name, split in splits.items()}
    train, test = images["train"].split, images["test"].split if "test" in images else None
    has_pairs = "test" in splits and (root / PAIRS).exists()
    if test is None:
        train, test = with_test_set_aside(train, classes, root)
    return Dataset(
        name="folder",
        classes=classes,
        train=train,
        validation=images["validation"].split if "validation" in images else None,
        test=test,
        augmentation=Augmentation(shift=max(1, min(height, width) // 8), flip=True),
        test_pairs=read_pairs(root / PAIRS, splits["test"].folder, images["test"].paths) if has_pairs else None,
        remarks=tuple(_remarks(root, splits, images, has_pairs=has_pairs, has_size=input_size is not None)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _SplitFolder:
    """The class folders of a split, or of all data."""

    folder: Path
    classes: Sequence[ClassFolder]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Images:
    """The images of a split that could be read; `broken` lists the others, path and reason."""

    split: Split
    paths: Sequence[Path]
    broken: Sequence[str]


def _find_split_folders(root: Path) -> dict[str, _SplitFolder]:
    """Return the splits by name.

    Raises:
        RequestError: there are none, or the data are of a kind that is read otherwise.
    """
    if not root.is_dir():
        named = known_layout(root, reader="folder") or known_format(root)
        raise RequestError(
            named or f"no folder {root}; name one that has a folder of images per class with --data-root"
        )
    try:
        folders = find_split_folders(root)
    except RequestError as error:
        raise RequestError(known_layout(root, reader="folder") or str(error)) from error
    if folders == {"train": root} and (named := known_layout(root, reader="folder", only_like_classes=True)):
        raise RequestError(named)
    return {name: _SplitFolder(folder=folder, classes=list_classes(folder)) for name, folder in folders.items()}


def _agreed_classes(root: Path, splits: Mapping[str, _SplitFolder]) -> tuple[str, ...]:
    """Return the classes, or what the folder is known for where they are not as expected."""
    try:
        return agreed_classes({name: (split.folder, split.classes) for name, split in splits.items()})
    except RequestError as error:
        has_classes = len(splits["train"].classes) >= 2
        if named := known_layout(root, reader="folder", only_like_classes=has_classes):
            raise RequestError(named) from error
        known = None if has_classes else known_format(root)
        raise RequestError(f"{error}; {known}" if known else str(error)) from error


def _read(split: _SplitFolder, classes: Sequence[str], shape: tuple[int, int, int], *, skip_broken: bool) -> _Images:
    number = {name: index for index, name in enumerate(classes)}
    paths = [path for found in split.classes for path in found.images]
    targets = torch.tensor([number[found.name] for found in split.classes for _ in found.images], dtype=torch.int64)
    decoded = read_images(paths, shape, skip_broken=skip_broken)
    good = np.array([index not in decoded.broken for index in range(len(paths))])
    _require_readable(split, targets[torch.from_numpy(~good)], targets[torch.from_numpy(good)], classes)
    whole = Split(images_NCHW=decoded.images_NCHW, targets_N=targets, is_on_disk=decoded.is_on_disk)
    return _Images(
        split=whole.subset(np.flatnonzero(good)) if decoded.broken else whole,
        paths=[path for path, is_good in zip(paths, good, strict=True) if is_good],
        broken=[f"{paths[index]}: {reason}" for index, reason in sorted(decoded.broken.items())],
    )


def _require_readable(split: _SplitFolder, broken: torch.Tensor, good: torch.Tensor, classes: Sequence[str]) -> None:
    """Raise where all images of a class are broken."""
    if lost := sorted(set(broken.tolist()) - set(good.tolist())):
        names = ", ".join(classes[index] for index in lost)
        raise RequestError(
            f"no image of {names} in {split.folder} can be read; repair the images or remove the folders"
        )


def with_test_set_aside(whole: Split, classes: Sequence[str], root: Path | str) -> tuple[Split, Split]:
    """Return four fifths of the images of each class, which train, and the rest, always the same ones.

    Args:
        root: where they are from, as messages name it.

    Raises:
        RequestError: they are too few.
    """
    from sklearn.model_selection import train_test_split

    counts = torch.bincount(whole.targets_N, minlength=len(classes)).tolist()
    single = [name for name, num in zip(classes, counts, strict=True) if num < 2]
    if single or math.ceil(TEST_PORTION * len(whole)) < len(classes):
        found = f"one image of {', '.join(single)}" if single else f"{len(whole)} images of {len(classes)} classes"
        raise RequestError(
            f"a fifth of the images of {root} is set aside for the test, some of every class: expected at least five "
            f"of each, found {found}; add images, or divide them into train/ and test/ yourself"
        )
    train, test = train_test_split(
        np.arange(len(whole)), test_size=TEST_PORTION, stratify=whole.targets_N.numpy(), random_state=0
    )
    return whole.subset(train), whole.subset(test)


def _remarks(
    root: Path, splits: Mapping[str, _SplitFolder], images: Mapping[str, _Images], *, has_pairs: bool, has_size: bool
) -> Iterator[str]:
    """Yield remarks on what was understood, done or left out without being asked for."""
    if not has_size:
        yield f"{root}: images are resized to {DEFAULT_SIZE} pixels a side; --input-size names another size"
    yield from _remarks_on_splits(root, splits)
    yield from _remarks_on_copies(splits, images)
    names = {split.folder.name for split in splits.values()} | ({PAIRS} if has_pairs else set())
    skipped: Counter[str] = Counter()
    for split in splits.values():
        skipped += stray_files(split.folder, read={found.name for found in split.classes})
        skipped += sum((found.skipped for found in split.classes), Counter())
    if splits["train"].folder != root:
        skipped += stray_files(root, read=names)
    broken = [text for read in images.values() for text in read.broken]
    kinds = [f"{num} {kind}" for kind, num in sorted(skipped.items(), key=lambda item: (-item[1], item[0]))]
    kinds += [f"{len(broken)} unreadable (the first: {broken[0]})"] if broken else []
    if kinds:
        yield f"{root}: not read: {', '.join(kinds)}"


def _remarks_on_splits(root: Path, splits: Mapping[str, _SplitFolder]) -> Iterator[str]:
    if "test" not in splits and splits["train"].folder != root:
        yield f"{root} has {splits['train'].folder.name}/ alone: a fifth of each class is set aside for the test"
    elif "test" in splits and splits["test"].folder.name.lower() in NAMES["validation"]:
        yield f"{root} has no test/: {splits['test'].folder.name}/ is the test"
    trained = [found.name for found in splits["train"].classes]
    for split in [split for name, split in splits.items() if name != "train"]:
        seen = {found.name for found in split.classes if found.images}
        missing = [name for name in trained if name not in seen]
        if missing and len(missing) < len(trained):
            yield f"{split.folder} has no images of {', '.join(missing)}"


def _remarks_on_copies(splits: Mapping[str, _SplitFolder], images: Mapping[str, _Images]) -> Iterator[str]:
    """Say how many pictures of a split are in another one too, to the byte."""
    for one, other in combinations(splits, 2):
        if num := num_shared(images[one].paths, images[other].paths):
            yield (
                f"{splits[one].folder} and {splits[other].folder} share {num} pictures: what a network has seen scores "
                "it too well; remove them from one"
            )
