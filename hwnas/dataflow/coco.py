"""Boxes in COCO's JSON (Lin et al. 2014), as `instances_train2017.json` has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwnas.dataflow.annotated import AnnotatedImage, Box, Wishes, boxes_dataset, by_split
from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.faults import Faults, within
from hwnas.dataflow.layouts import known_format, known_layout
from hwnas.dataflow.outlines import as_float
from hwnas.dataflow.split_folders import split_named
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize
from safe_files import FileError, read_json

ROBOFLOW = "_annotations.coco.json"
OTHER_TASKS = frozenset({"captions", "keypoints", "panoptic", "stuff", "info"})
"""Words in the names of COCO's files that hold no objects with boxes."""

NUM_LOOKED_FOR = 100
"""Images of a file that are looked for to find their folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoObject:
    """An annotation of a COCO file: its place for messages, its class index, and its fields as they stand there."""

    where: str
    class_index: int
    fields: Mapping[str, Any]

    @property
    def is_crowd(self) -> bool:
        """Whether it is a region of objects that nobody counted."""
        return bool(self.fields.get("iscrowd"))


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoImage:
    """An image of a COCO file and its annotations."""

    image: AnnotatedImage
    objects: tuple[CocoObject, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoData:
    """The images of COCO files by split, and the names of the classes, in the order of their ids."""

    splits: dict[str, list[CocoImage]]
    classes: tuple[str, ...]

    @property
    def num_crowds(self) -> int:
        """The number of annotations that are regions of objects that nobody counted."""
        return sum(o.is_crowd for images in self.splits.values() for image in images for o in image.objects)


def load_coco(
    root: Path, input_size: ImageSize | None, *, skip_broken_images: bool = False, is_grey: bool = False
) -> Dataset:
    """Boxes of COCO's JSON: `annotations/instances_train.json` or `train.json`, its images in a folder of that name.

    The images may lie in `images/` or beside the file too. Crowds are left out. Without a file for the test, that of
    val is, or a fifth is set aside. Images are letterboxed; to 320 pixels a side, unless they are all of one size.

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
    splits = {split: [_with_boxes(i, wishes.faults) for i in images] for split, images in data.splits.items()}
    dataset = boxes_dataset("coco", root, splits, data.classes, wishes)
    if not data.num_crowds:
        return dataset
    remark = f"{root}: {data.num_crowds} crowds (iscrowd) are left out: nobody counted their objects"
    return replace(dataset, remarks=(*dataset.remarks, remark))


def read_coco(root: Path, faults: Faults) -> CocoData:
    """Return the images and annotations of all COCO files in a folder.

    Raises:
        RequestError: there are none, a file is none of COCO's, or has faults that are not skipped.
    """
    files = _find_files(root)
    contents = {split: _content(path) for split, path in files.items()}
    categories = {split: _categories(files[split], content) for split, content in contents.items()}
    classes = tuple(categories["train"].values())
    number = {name: index for index, name in enumerate(classes)}
    splits = {}
    for split, content in contents.items():
        for name in categories[split].values():
            if name not in number:
                raise RequestError(
                    f"{files[split]} has the category {name!r}, which {files['train']} lacks: expected the same "
                    "categories in both; add or remove it"
                )
        class_of = {category: number[name] for category, name in categories[split].items()}
        splits[split] = _images(root, files[split], content, class_of, faults)
    return CocoData(splits=splits, classes=classes)


def _find_files(root: Path) -> dict[str, Path]:
    """Return the COCO file of each split: by its own name, or by its folder's as Roboflow writes them."""
    found = []
    for path in sorted([*root.glob("*.json"), *root.glob("annotations/*.json"), *root.glob(f"*/{ROBOFLOW}")]):
        words = re.findall("[a-z]+", (path.parent if path.name == ROBOFLOW else path).stem.lower())
        if not OTHER_TASKS.intersection(words):
            found.append((split_named(*words), path))
    if not found:
        expected = "annotations/instances_train.json, train.json, or train/_annotations.coco.json"
        raise RequestError(
            known_layout(root, reader="coco")
            or known_format(root)
            or f"no COCO annotations in {root}: expected {expected}; name their folder with --data-root"
        )
    return by_split(found, root, "COCO file")


def _content(path: Path) -> dict[str, list[Any]]:
    try:
        content = read_json(path, allow_nan=True)
    except FileError as error:
        raise RequestError(str(error)) from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise RequestError(f"{path} is not COCO's: expected an object with a list of {key}; write it anew")
    found: dict[str, list[Any]] = content
    return found


def _categories(path: Path, content: Mapping[str, list[Any]]) -> dict[int, str]:
    """Return the names of categories by id, in the order of the ids."""
    names: dict[int, str] = {}
    for position, category in enumerate(content["categories"], start=1):
        where = f"{path}: category {position}"
        if not _has(category, id=int, name=str):
            raise RequestError(f"{where}: expected an integer id and a name, found {str(category)[:100]}; mend it")
        if category["id"] in names or category["name"] in names.values():
            raise RequestError(f"{where}: the id {category['id']} or the name {category['name']!r} is there twice")
        names[category["id"]] = category["name"]
    if not names:
        raise RequestError(f"{path} has no categories: expected one at least; add them")
    return dict(sorted(names.items()))


def _images(
    root: Path, path: Path, content: Mapping[str, list[Any]], class_of: Mapping[int, int], faults: Faults
) -> list[CocoImage]:
    """Return the images of a file with their annotations; without the faulty ones and what belongs to these."""
    folder = _image_folder(root, path, content["images"])
    images: dict[int, AnnotatedImage] = {}
    left_out: set[int] = set()
    for position, fields in enumerate(content["images"], start=1):
        image = _image(folder, f"{path}: image {position}", fields, faults)
        if image is None:
            left_out |= {fields["id"]} if _has(fields, id=int) else set()
        elif fields["id"] in images:
            faults.add("images with an id that is there twice", image.where, "expected ids of one image each")
        else:
            images[fields["id"]] = image
    objects: dict[int, list[CocoObject]] = {key: [] for key in images}
    for found in _objects(path, content["annotations"], class_of, faults):
        key = found.fields["image_id"]
        if key in images:
            objects[key].append(found)
        elif key not in left_out:
            faults.add("annotations of an unknown image", found.where, f"found the image_id {key}, which no image has")
    return [CocoImage(image=image, objects=tuple(objects[key])) for key, image in images.items()]


def _objects(
    path: Path, annotations: Sequence[Any], class_of: Mapping[int, int], faults: Faults
) -> Iterator[CocoObject]:
    seen: set[int] = set()
    for position, fields in enumerate(annotations, start=1):
        where = f"{path}: annotation {position}"
        if not _has(fields, id=int, image_id=int, category_id=int):
            expected = "integers id, image_id and category_id"
            faults.add("annotations without ids", where, f"expected {expected}, found {str(fields)[:100]}")
            continue
        where = f"{where} (id {fields['id']})"
        category = fields["category_id"]
        if fields["id"] in seen:
            faults.add("annotations with an id that is there twice", where, "expected ids of one annotation each")
        elif category not in class_of:
            known = str([*class_of][:10])
            faults.add(
                "objects of an unknown class", where, f"expected one of the categories {known}, found {category}"
            )
        else:
            yield CocoObject(where=where, class_index=class_of[category], fields=fields)
        seen.add(fields["id"])


def _image(folder: Path, where: str, fields: Any, faults: Faults) -> AnnotatedImage | None:
    if not _has(fields, id=int, file_name=str):
        faults.add("images without a name", where, f"expected an id and a file_name, found {str(fields)[:100]}")
        return None
    where = f"{where} (id {fields['id']})"
    path = within(folder, fields["file_name"])
    if path is None:
        faults.add(
            "images outside of their folder",
            where,
            f"expected a name within {folder}, found {fields['file_name'][:200]!r}",
        )
        return None
    size = (fields["height"], fields["width"]) if _has(fields, height=int, width=int) else None
    return AnnotatedImage(path=path, where=where, size=size)


def _image_folder(root: Path, path: Path, images: Sequence[Any]) -> Path:
    """Return the folder that the images of a file lie in: the first of the usual ones that has any of them.

    Raises:
        RequestError: none has.
    """
    last = re.split("[_.]", path.stem)[-1]  # train2017
    inside = [base / name for base in (root, root / "images") for name in (path.stem, last)]
    folders = [*inside, root / "images", path.parent, root]
    names = [fields["file_name"] for fields in images[:NUM_LOOKED_FOR] if _has(fields, file_name=str)]
    for folder in folders:
        if any((file := within(folder, name)) is not None and file.is_file() for name in names):
            return folder
    if existing := next((folder for folder in folders if folder.is_dir()), None):
        return existing  # whose images are then said to be missing, one by one
    raise RequestError(f"{path}: expected its images in {folders[0]}, found no such folder; move them there")


def _with_boxes(image: CocoImage, faults: Faults) -> AnnotatedImage:
    boxes = []
    for found in image.objects:
        values = found.fields.get("bbox")
        if found.is_crowd:
            continue
        said = values if isinstance(values, list) else []
        numbers = [number for value in said if (number := as_float(value)) is not None]
        if not len(said) == len(numbers) == 4:
            faults.add(
                "boxes that are not numbers",
                found.where,
                f"expected bbox of four numbers (x, y, width, height), found {str(values)[:100]}",
            )
            continue
        x, y, width, height = numbers
        box = Box(class_index=found.class_index, corners=(x, y, x + width, y + height), where=found.where)
        boxes.append(box)
    return replace(image.image, boxes=tuple(boxes))


def _has(fields: Any, **types: type) -> bool:
    """Return whether an object has these fields, of these types."""
    return isinstance(fields, dict) and all(
        isinstance(fields.get(name), kind) and not isinstance(fields.get(name), bool) for name, kind in types.items()
    )
