"""Boxes in YOLO's text files, as Ultralytics' data.yaml names them: a line per object, in shares of the image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwnas.dataflow.annotated import AnnotatedImage, Box, Wishes, boxes_dataset
from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.faults import Faults, within
from hwnas.dataflow.images import size_of_image
from hwnas.dataflow.layouts import known_format, known_layout
from hwnas.dataflow.listing import is_image
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize
from safe_files import FileError, read_text, read_yaml

MOST_LABEL_BYTES = 1 << 20
KEYS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
"""Keys of data.yaml that name a split's images."""


def load_yolo(
    root: Path, input_size: ImageSize | None, *, skip_broken_images: bool = False, is_grey: bool = False
) -> Dataset:
    """Boxes of YOLO's text files: data.yaml, `images/train` and `labels/train`, or `train/images` and `train/labels`.

    Lines are `class x y width height`, or `class x1 y1 x2 y2 x3 y3 ...`, around whose points a box is made. An image
    without a file of labels shows no objects. Without test images those of val are, or a fifth is set aside. Images are
    letterboxed; to 320 pixels a side, unless they are all of one size.

    Args:
        root: the folder of data.yaml.
        input_size: pixels a side, or height and width.
        skip_broken_images: leave out broken lines and images instead of refusing them.
        is_grey: whether images have one channel.

    Raises:
        RequestError: there is no such folder, or labels are broken; the message has their file and line.
    """
    wishes = Wishes(input_size=input_size, is_grey=is_grey, faults=Faults(are_skipped=skip_broken_images))
    described = _described(root)
    paths = {split: list(_image_paths(root, described, split)) for split in KEYS}
    named = {split: found for split, found in paths.items() if found}
    if "train" not in named:
        raise RequestError(f"{described.path}: expected a folder of images for train, found none; mend its path")
    labels = [_label_path(root, path) for found in named.values() for path in found]
    num_bare = sum(not path.is_file() for path in labels)
    if num_bare == len(labels):
        raise RequestError(f"{root}: expected labels beside the images, as {labels[0]}, found none; move them there")
    splits = {
        split: list(_annotated(found, len(described.classes), root, wishes.faults)) for split, found in named.items()
    }
    dataset = boxes_dataset("yolo", root, splits, described.classes, wishes)
    remark = f"{root}: {num_bare} images without a file of labels are taken for images without objects"
    return replace(dataset, remarks=(*dataset.remarks, remark)) if num_bare else dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class _Described:
    """The content of a data.yaml."""

    path: Path
    classes: tuple[str, ...]
    content: Mapping[str, Any]


def _described(root: Path) -> _Described:
    found = [path for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]) if path.is_file()]
    contents = {}
    for path in found:
        try:
            content = read_yaml(path)
        except FileError as error:
            raise RequestError(str(error)) from error
        if isinstance(content, dict) and "names" in content:
            contents[path] = content
    if len(contents) != 1:
        names = ", ".join(path.name for path in contents) or "none"
        raise RequestError(
            (known_layout(root, reader="yolo") or known_format(root) if not root.joinpath("labels").is_dir() else None)
            or f"expected one data.yaml with the names of the classes in {root}, found {names}; write it, or name its "
            "folder with --data-root"
        )
    path, content = next(iter(contents.items()))
    return _Described(path=path, classes=_classes(path, content), content=content)


def _classes(path: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    names = content["names"]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or sorted(names, key=str) != sorted(range(len(names)), key=str):
        raise RequestError(f"{path}: expected names as a list, or by number from 0 without gaps, found {names!r:.200}")
    number = content.get("nc", len(names))
    if number != len(names):
        raise RequestError(f"{path}: nc says {number!r:.50} classes, and names has {len(names)}; mend one")
    classes = tuple(str(names[index]) for index in range(len(names)))
    if len(set(classes)) < len(classes):
        raise RequestError(f"{path}: expected a name of its own for each class, found one twice; rename one")
    return classes


def _image_paths(root: Path, described: _Described, split: str) -> Iterator[Path]:
    """Yield the images of a split: of folders, or of files that list them."""
    entries = next((described.content[key] for key in KEYS[split] if described.content.get(key)), None)
    for entry in entries if isinstance(entries, list) else [entries] if entries else []:
        if isinstance(entry, (list, dict)):
            expected = f"a path or a list of paths for {split}"
            raise RequestError(f"{described.path}: expected {expected}, found {str(entry)[:200]}; mend it")
        place = _place(root, described, str(entry))
        if place.is_dir():
            yield from sorted(path for path in place.rglob("*") if is_image(path))
        elif place.suffix == ".txt":
            yield from _listed(root, place)
        else:
            raise RequestError(f"{described.path}: expected the folder {place} for {split}, found none; mend its path")


def _place(root: Path, described: _Described, entry: str) -> Path:
    """Return where an entry of data.yaml leads: from its `path`, from the folder itself, or as Roboflow writes it."""
    base = str(described.content.get("path") or ".")
    names = [f"{base}/{entry}", entry, entry.removeprefix("../")]
    places = [place for place in (within(root, name) for name in names) if place]
    if not places:
        raise RequestError(f"{described.path}: expected a path within {root}, found {entry[:200]!r}; mend it")
    return next((place for place in places if place.exists()), places[0])


def _listed(root: Path, path: Path) -> Iterator[Path]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            place = within(root, str(path.parent.relative_to(root) / line.strip()))
            if place is None:
                raise RequestError(f"{path}, line {number}: expected an image within {root}, found {line[:200]!r}")
            yield place


def _lines(path: Path) -> list[str]:
    try:
        return read_text(path, max_bytes=MOST_LABEL_BYTES * 100).splitlines()
    except FileError as error:
        raise RequestError(str(error)) from error


def _label_path(root: Path, image: Path) -> Path:
    """Return the file of an image's labels: in `labels` in place of the last `images` of its path, else beside it."""
    parts = list(image.relative_to(root).parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return root.joinpath(*parts).with_suffix(".txt")


def _annotated(images: Sequence[Path], num_classes: int, root: Path, faults: Faults) -> Iterator[AnnotatedImage]:
    """Yield the images with the boxes of their files; without those whose file cannot be read."""
    for image in images:
        labels = _label_path(root, image)
        try:
            lines = read_text(labels, max_bytes=MOST_LABEL_BYTES).splitlines() if labels.is_file() else []
        except FileError as error:
            faults.add("unreadable labels", str(labels), str(error))
            continue
        size = _size(image) if lines else (1, 1)
        boxes = [
            _box(line.split(), size, f"{labels}, line {number}", num_classes, faults)
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
        yield AnnotatedImage(path=image, where=str(image), boxes=tuple(box for box in boxes if box is not None))


def _size(image: Path) -> tuple[int, int]:
    """Return height and width; 1 for what cannot be read, which is found out later."""
    try:
        return size_of_image(image)
    except RequestError:
        return (1, 1)


def _box(words: Sequence[str], size: tuple[int, int], where: str, num_classes: int, faults: Faults) -> Box | None:
    try:
        index, *values = (float(word) for word in words)
    except ValueError:
        faults.add("boxes that are not numbers", where, f"expected numbers, found {' '.join(words)[:200]!r}")
        return None
    if not all(math.isfinite(value) for value in values):
        faults.add("boxes that are not numbers", where, f"expected finite numbers, found {' '.join(words)[:200]!r}")
        return None
    if len(values) < 4 or len(values) % 2:
        faults.add(
            "lines of another form",
            where,
            f"expected class x y width height, or class and points of an outline, found {len(words)} numbers",
        )
        return None
    if not math.isfinite(index) or index != int(index) or not 0 <= index < num_classes:
        faults.add("boxes of an unknown class", where, f"expected a class of 0 to {num_classes - 1}, found {words[0]}")
        return None
    height, width = size
    if len(values) == 4:
        x, y, wide, high = values
        shares = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
    else:
        shares = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    corners = (shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height)
    return Box(class_index=int(index), corners=corners, where=where)
