"""Boxes in Pascal VOC's XML (Everingham et al. 2010), in the folders of its development kit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path

from hwnas.dataflow.annotated import AnnotatedImage, Box, Wishes, boxes_dataset
from hwnas.dataflow.class_names import NAMES_FILE, read_names
from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.faults import Faults, within
from hwnas.dataflow.layouts import known_format, known_layout
from hwnas.dataflow.listing import is_image
from hwnas.dataflow.xml_text import Element, read_xml
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize
from safe_files import FileError, read_text

IMAGES, ANNOTATIONS, LISTS = "JPEGImages", "Annotations", "ImageSets/Main"
SPLITS = {"train": ("train", "trainval"), "validation": ("val",), "test": ("test",)}
"""The lists that a split can have, the first that is there counts."""

MOST_LIST_BYTES = 1 << 26


@dataclass(frozen=True, kw_only=True, slots=True)
class _Object:
    """An object of an annotation, its corners counted from 0 and exclusive; None where they are no numbers."""

    class_name: str
    corners: tuple[float, float, float, float] | None
    is_difficult: bool
    where: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Annotation:
    """An annotation's file: its image, and its objects."""

    image: AnnotatedImage
    objects: tuple[_Object, ...]


def load_voc(
    root: Path, input_size: ImageSize | None, *, skip_broken_images: bool = False, is_grey: bool = False
) -> Dataset:
    """Boxes of Pascal VOC's XML: VOCdevkit with its years, one of them, or any folder with JPEGImages and Annotations.

    `ImageSets/Main` divides the images; several years are joined. The classes are those of `classes.txt` (a name a
    line), or the names of all objects to train on, in alphabetical order. Difficult objects are left out. Without test
    images those of val are, or a fifth is set aside. Images are letterboxed; to 320 pixels a side, unless they are all
    of one size.

    Args:
        root: the folder of JPEGImages, or one around it.
        input_size: pixels a side, or height and width.
        skip_broken_images: leave out broken annotations and images instead of refusing them.
        is_grey: whether images have one channel.

    Raises:
        RequestError: there is no such folder, or annotations are broken; the message has their file and line.
    """
    wishes = Wishes(input_size=input_size, is_grey=is_grey, faults=Faults(are_skipped=skip_broken_images))
    found = {
        split: list(_annotations(paths, wishes.faults)) for split, paths in _split_paths(_year_folders(root)).items()
    }
    classes = _classes(root, found["train"])
    number = {name: index for index, name in enumerate(classes)}
    splits = {split: [_with_boxes(a, number, wishes.faults) for a in items] for split, items in found.items()}
    dataset = boxes_dataset("voc", root, splits, classes, wishes)
    num_difficult = sum(o.is_difficult for items in found.values() for item in items for o in item.objects)
    remark = f"{root}: {num_difficult} difficult objects are left out, as Pascal VOC does not score them"
    return replace(dataset, remarks=(*dataset.remarks, remark)) if num_difficult else dataset


def _year_folders(root: Path) -> list[Path]:
    for folders in ([root], root.glob("VOC*"), root.glob("VOCdevkit/VOC*"), root.glob("*")):
        if found := sorted(f for f in folders if (f / IMAGES).is_dir() and (f / ANNOTATIONS).is_dir()):
            return found
    raise RequestError(
        known_layout(root, reader="voc")
        or known_format(root)
        or f"expected the folders {IMAGES} and {ANNOTATIONS} in {root}, or in a folder there, found none; name the "
        "folder around them with --data-root"
    )


def _split_paths(years: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the files of annotations by split; all are to train on where no list divides them."""
    splits: dict[str, list[Path]] = {}
    for year in years:
        lists = {split: [year / LISTS / f"{name}.txt" for name in names] for split, names in SPLITS.items()}
        existing = {split: next((p for p in paths if p.is_file()), None) for split, paths in lists.items()}
        if existing["train"] is None:
            if any(existing.values()):
                raise RequestError(f"{year / LISTS}: expected train.txt or trainval.txt, found neither; add one")
            splits.setdefault("train", []).extend(sorted((year / ANNOTATIONS).glob("*.xml")))
        for split, path in existing.items():
            if path is not None:
                splits.setdefault(split, []).extend(_listed(year, path))
    return splits


def _listed(year: Path, path: Path) -> Iterator[Path]:
    try:
        lines = read_text(path, max_bytes=MOST_LIST_BYTES).splitlines()
    except FileError as error:
        raise RequestError(str(error)) from error
    for number, line in enumerate(lines, start=1):
        if words := line.split():
            annotation = within(year / ANNOTATIONS, f"{words[0]}.xml")
            if annotation is None or not annotation.is_file():
                expected = f"the name of an annotation in {year / ANNOTATIONS}"
                raise RequestError(
                    f"{path}, line {number}: expected {expected}, found {words[0][:200]!r}; add or remove it"
                )
            yield annotation


def _annotations(paths: Sequence[Path], faults: Faults) -> Iterator[_Annotation]:
    for path in paths:
        try:
            outermost = read_xml(path)
        except RequestError as error:
            faults.add("unreadable annotations", str(path), str(error).removeprefix(f"{path}, "))
            continue
        if (annotation := _annotation(path, outermost, faults)) is not None:
            yield annotation


def _annotation(path: Path, outermost: Element, faults: Faults) -> _Annotation | None:
    folder = path.parent.parent / IMAGES
    named = outermost.said("filename") or f"{path.stem}.jpg"
    image = within(folder, named)
    if image is None:
        faults.add(
            "images outside of their folder",
            f"{path}, line {_line(outermost, 'filename')}",
            f"expected a name within {folder}, found {named[:200]!r}",
        )
        return None
    if not image.is_file():  # people rename images and leave what the annotations say
        image = next((p for p in sorted(folder.glob(f"{escape(path.stem)}.*")) if is_image(p)), image)
    objects = tuple(_object(path, element) for element in outermost.all("object"))
    return _Annotation(
        image=AnnotatedImage(path=image, where=str(path), size=_claimed_size(outermost)), objects=objects
    )


def _line(element: Element, tag: str) -> int:
    found = element.first(tag)
    return found.line if found else element.line


def _claimed_size(outermost: Element) -> tuple[int, int] | None:
    size = outermost.first("size")
    words = (size.said("height"), size.said("width")) if size else ("", "")
    if not all(word.isascii() and word.isdigit() and 0 < int(word[:10]) < 10**9 for word in words):
        return None  # labelling programs write 0 where they do not know; no image has a side of ten digits
    return int(words[0]), int(words[1])


def _object(path: Path, element: Element) -> _Object:
    box = element.first("bndbox")
    return _Object(
        class_name=element.said("name"),
        corners=_corners(box) if box else None,
        is_difficult=element.said("difficult") == "1",
        where=f"{path}, line {(box or element).line}",
    )


def _corners(box: Element) -> tuple[float, float, float, float] | None:
    """Return the corners in pixels from the image's corner; the files count pixels from 1 and include the last."""
    try:
        x1, y1, x2, y2 = (float(box.said(name)) for name in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        return None
    return x1 - 1, y1 - 1, x2, y2


def _classes(root: Path, annotations: Sequence[_Annotation]) -> tuple[str, ...]:
    listed = root / NAMES_FILE
    if listed.is_file():
        return read_names(listed)
    names = sorted({found.class_name for annotation in annotations for found in annotation.objects})
    if not names or names == [""]:
        raise RequestError(f"{root}: expected annotated objects to train on, found none; add some")
    return tuple(name for name in names if name)


def _with_boxes(annotation: _Annotation, number: Mapping[str, int], faults: Faults) -> AnnotatedImage:
    boxes = []
    for found in annotation.objects:
        if found.is_difficult:
            continue
        if found.class_name not in number:
            known = ", ".join(list(number)[:10])
            faults.add(
                "objects of an unknown class", found.where, f"expected one of {known}, found {found.class_name[:100]!r}"
            )
        elif found.corners is None:
            faults.add(
                "boxes that are not numbers", found.where, "expected a bndbox with numbers xmin, ymin, xmax, ymax"
            )
        else:
            boxes.append(Box(class_index=number[found.class_name], corners=found.corners, where=found.where))
    return replace(annotation.image, boxes=tuple(boxes))
