"""Small data sets with boxes and masks that tests write in every format: rectangular images, a colour per object."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "truck")


@dataclass(frozen=True)
class Picture:
    """An image of a height and width, and its objects: class, x1, y1, x2, y2 in whole pixels."""

    name: str
    size: tuple[int, int]
    boxes: Sequence[tuple[int, int, int, int, int]] = field(default_factory=tuple)

    def pixels(self) -> np.ndarray:
        """Return the image: black, its objects in red, green or blue."""
        image = np.zeros((*self.size, 3), dtype=np.uint8)
        for class_index, x1, y1, x2, y2 in self.boxes:
            image[y1:y2, x1:x2] = 0
            image[y1:y2, x1:x2, class_index] = 255
        return image

    def mask(self) -> np.ndarray:
        """Return the class of each pixel: 0 for the background, 1 and up for objects."""
        mask = np.zeros(self.size, dtype=np.uint8)
        for class_index, x1, y1, x2, y2 in self.boxes:
            mask[y1:y2, x1:x2] = class_index + 1
        return mask


PICTURES: Mapping[str, Sequence[Picture]] = {
    "train": [
        Picture("a", (30, 40), [(0, 4, 5, 20, 25), (2, 25, 10, 40, 30)]),
        Picture("b", (50, 20), [(1, 0, 0, 20, 50)]),
        Picture("c", (24, 24)),
        Picture("d", (32, 48), [(2, 10, 2, 30, 12), (1, 31, 4, 47, 28), (0, 2, 14, 26, 30)]),
    ],
    "val": [Picture("e", (40, 40), [(0, 8, 8, 36, 30)]), Picture("f", (20, 60), [(2, 3, 1, 50, 19)])],
    "test": [Picture("g", (40, 30), [(1, 5, 6, 25, 38)]), Picture("h", (16, 16), [(0, 1, 1, 15, 15)])],
}


def save_images(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write the images as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        Image.fromarray(picture.pixels()).save(folder / f"{picture.name}.png")


def coco_content(pictures: Sequence[Picture]) -> dict[str, list[dict[str, object]]]:
    """Return what COCO's JSON says of some images; categories have the ids 2, 4 and 6."""
    annotations = []
    for number, picture in enumerate(pictures, start=10):
        for class_index, x1, y1, x2, y2 in picture.boxes:
            annotations.append(
                {
                    "id": 100 + len(annotations),
                    "image_id": number,
                    "category_id": 2 * class_index + 2,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
                    "iscrowd": 0,
                }
            )
    return {
        "images": [
            {"id": number, "file_name": f"{p.name}.png", "height": p.size[0], "width": p.size[1]}
            for number, p in enumerate(pictures, start=10)
        ],
        "annotations": annotations,
        "categories": [{"id": 2 * index + 2, "name": name} for index, name in enumerate(CLASSES)],
    }


def write_coco(root: Path) -> None:
    """Write annotations/instances_SPLIT2017.json, images in SPLIT2017/."""
    (root / "annotations").mkdir(parents=True)
    for split, pictures in PICTURES.items():
        save_images(root / f"{split}2017", pictures)
        path = root / "annotations" / f"instances_{split}2017.json"
        path.write_text(json.dumps(coco_content(pictures)))


def write_yolo(root: Path) -> None:
    """Write data.yaml, images/SPLIT and labels/SPLIT; an image without objects has no file of labels."""
    for split, pictures in PICTURES.items():
        save_images(root / "images" / split, pictures)
        (root / "labels" / split).mkdir(parents=True)
        for picture in [p for p in pictures if p.boxes]:
            lines = []
            for class_index, x1, y1, x2, y2 in picture.boxes:
                height, width = picture.size
                shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
                lines.append(f"{class_index} " + " ".join(f"{share:.8f}" for share in shares))
            (root / "labels" / split / f"{picture.name}.txt").write_text("\n".join(lines) + "\n")
    paths = "".join(f"{split}: images/{split}\n" for split in PICTURES)
    (root / "data.yaml").write_text(f"path: .\n{paths}nc: 3\nnames: [{', '.join(CLASSES)}]\n")


def write_voc(root: Path) -> None:
    """Write VOCdevkit/VOC2007 with its folders."""
    year = root / "VOCdevkit" / "VOC2007"
    (year / "Annotations").mkdir(parents=True)
    (year / "ImageSets" / "Main").mkdir(parents=True)
    for split, pictures in PICTURES.items():
        save_images(year / "JPEGImages", pictures)
        (year / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{p.name}\n" for p in pictures))
        for picture in pictures:
            (year / "Annotations" / f"{picture.name}.xml").write_text(_voc_text(picture))


def _voc_text(picture: Picture) -> str:
    objects = "".join(
        f"<object>\n<name>{CLASSES[class_index]}</name>\n<difficult>0</difficult>\n<bndbox><xmin>{x1 + 1}</xmin>"
        f"<ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>\n</object>\n"
        for class_index, x1, y1, x2, y2 in picture.boxes
    )
    height, width = picture.size
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
    return f"<annotation>\n<filename>{picture.name}.png</filename>\n{size}{objects}</annotation>\n"


def write_masks(root: Path) -> None:
    """Write images/SPLIT, masks/SPLIT, half of them with a palette, and classes.txt."""
    for split, pictures in PICTURES.items():
        save_images(root / "images" / split, pictures)
        (root / "masks" / split).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            mask = Image.fromarray(picture.mask())
            if number % 2:
                mask.putpalette([200, 100, 50] * 256)
            mask.save(root / "masks" / split / f"{picture.name}.png")
    (root / "classes.txt").write_text("\n".join(("background", *CLASSES)) + "\n")


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "voc": write_voc,
    "masks": write_masks,
    "coco-masks": write_coco,
}
