"""Make data for detection and segmentation: real CIFAR-10 pictures pasted onto canvases, with honest labels.

Each image has 1 to 5 objects of 24 to 64 pixels (ellipses cut out of pictures, their edges blended), over a background
of blurred colours and of clutter: pieces of other pictures, too small to show what they are of. Objects cover others
a little. Boxes are the bounds of the pixels that can be seen, masks are those pixels: class 1 to 10, 0 elsewhere.
Train and val are of different training pictures of CIFAR-10, test is of its test pictures.

    python benchmarks/composed.py --cifar DATA --out composed
    python benchmarks/composed.py --cifar DATA --out composed --formats coco yolo --train 200 --val 50 --test 50
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hwnas.dataflow import Split
from hwnas.dataflow.cifar import load_cifar10

CANVAS = 128
LEAST_SIDE, MOST_SIDE = 24, 64
MOST_OBJECTS = 5
LEAST_VISIBLE = 0.7
"""Share of an object's pixels that later ones leave uncovered."""

VAL_PORTION = 0.1
"""Share of the training pictures that val is made of."""

BLENDED_PIXELS = 1.5
MOST_TRIES = 30
POLYGON_POINTS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """The pictures that a split is made of: images [num, 32, 32, 3] and classes [num]."""

    images: NDArray[np.uint8]
    classes: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """An object of an image: its class, and the ellipse that it was pasted as (x, y, width, height in pixels)."""

    class_index: int
    place: tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed:
    """An image with its objects.

    Attributes:
        pixels: [height, width, 3].
        owner: [height, width], which object a pixel shows, counted from 1; 0 for none.
    """

    name: str
    pixels: NDArray[np.uint8]
    owner: NDArray[np.uint8]
    things: Sequence[Thing]

    def box(self, number: int) -> tuple[int, int, int, int]:
        """Return x, y, width and height of the visible pixels of an object, counted from 1."""
        rows, columns = np.nonzero(self.owner == number)
        left, top = int(columns.min()), int(rows.min())
        return left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top

    def mask(self) -> NDArray[np.uint8]:
        """Return the class of each pixel, counted from 1; 0 for the background."""
        of_owner = np.array([0, *(thing.class_index + 1 for thing in self.things)], dtype=np.uint8)
        return of_owner[self.owner]


def compose(name: str, pictures: Pictures, rng: np.random.Generator) -> Composed:
    """Return a new image; the same for the same generator."""
    canvas = _background(pictures, rng)
    owner = np.zeros((CANVAS, CANVAS), dtype=np.uint8)
    things: list[Thing] = []
    for _ in range(int(rng.integers(1, MOST_OBJECTS + 1))):
        place = _free_place(owner, things, rng)
        if place is None:
            continue
        chosen = int(rng.integers(len(pictures.images)))
        alpha = _ellipse(place)
        _paste(canvas, pictures.images[chosen], place, alpha)
        things.append(Thing(class_index=int(pictures.classes[chosen]), place=place))
        _window(owner, place)[alpha >= 0.5] = len(things)
    return Composed(name=name, pixels=canvas.round().astype(np.uint8), owner=owner, things=things)


def _background(pictures: Pictures, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the colours of a piece of a picture, spread over the canvas, with clutter pasted on."""
    top, left = rng.integers(0, 25, 2)
    piece = pictures.images[rng.integers(len(pictures.images)), top : top + 8, left : left + 8]
    canvas = np.asarray(Image.fromarray(piece).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC), dtype=np.float64)
    canvas = np.clip(canvas + rng.normal(0, rng.uniform(0, 8), canvas.shape), 0, 255)
    for _ in range(int(rng.integers(6, 15))):
        side = int(rng.integers(7, 13))
        top, left = rng.integers(0, 33 - side, 2)
        piece = pictures.images[rng.integers(len(pictures.images)), top : top + side, left : left + side]
        place = _place(rng, least=10, most=48)
        alpha = _ellipse(place) if rng.random() < 0.5 else np.ones((place[3], place[2]))
        _paste(canvas, piece, place, alpha)
    return canvas


def _place(rng: np.random.Generator, *, least: int, most: int) -> tuple[int, int, int, int]:
    side = np.exp(rng.uniform(np.log(least), np.log(most)))
    aspect = np.sqrt(np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3))))
    width, height = (int(np.clip(round(s), least, most)) for s in (side * aspect, side / aspect))
    return int(rng.integers(0, CANVAS - width + 1)), int(rng.integers(0, CANVAS - height + 1)), width, height


def _free_place(
    owner: NDArray[np.uint8], things: Sequence[Thing], rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """Return where an object leaves enough of the others to be seen; None where no place was found."""
    whole = np.array([(_ellipse(thing.place) >= 0.5).sum() for thing in things])
    visible = np.bincount(owner.ravel(), minlength=len(things) + 1)[1:]
    for _ in range(MOST_TRIES):
        place = _place(rng, least=LEAST_SIDE, most=MOST_SIDE)
        covered = np.bincount(_window(owner, place)[_ellipse(place) >= 0.5], minlength=len(things) + 1)[1:]
        if (visible - covered >= LEAST_VISIBLE * whole).all():
            return place
    return None


def _window(canvas: NDArray[np.generic], place: tuple[int, int, int, int]) -> NDArray[np.generic]:
    left, top, width, height = place
    return canvas[top : top + height, left : left + width]


def _ellipse(place: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """Return [height, width] how opaque each pixel of an ellipse within a place is: a half at its edge."""
    return _ellipse_of(place[2], place[3])


@cache
def _ellipse_of(width: int, height: int) -> NDArray[np.float64]:
    x = (np.arange(width) + 0.5) / width * 2 - 1
    y = (np.arange(height) + 0.5) / height * 2 - 1
    radius = np.hypot(x[None, :], y[:, None])
    return np.clip((1 - radius) * min(width, height) / 2 / BLENDED_PIXELS + 0.5, 0, 1)


def _paste(
    canvas: NDArray[np.float64],
    picture: NDArray[np.uint8],
    place: tuple[int, int, int, int],
    alpha: NDArray[np.float64],
) -> None:
    resized = np.asarray(Image.fromarray(picture).resize((place[2], place[3]), Image.Resampling.BICUBIC))
    window = _window(canvas, place)
    window += alpha[..., None] * (resized - window)


def write_coco(root: Path, split: str, images: Sequence[Composed], classes: Sequence[str]) -> None:
    """Write annotations/instances_SPLIT.json; ids are those that people have: not from 0 and with gaps."""
    annotations = []
    for image_id, image in enumerate(images, start=1):
        for number, thing in enumerate(image.things, start=1):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 2 * thing.class_index + 1,
                    "bbox": image.box(number),
                    "area": int((image.owner == number).sum()),
                    "segmentation": [_polygon(thing.place)],
                    "iscrowd": 0,
                }
            )
    content = {
        "images": [
            {"id": i, "file_name": f"{image.name}.png", "width": CANVAS, "height": CANVAS}
            for i, image in enumerate(images, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": 2 * i + 1, "name": name} for i, name in enumerate(classes)],
    }
    _write(root / "annotations" / f"instances_{split}.json", json.dumps(content))


def _polygon(place: tuple[int, int, int, int]) -> list[float]:
    left, top, width, height = place
    angles = np.arange(POLYGON_POINTS) * (2 * np.pi / POLYGON_POINTS)
    points = np.stack([left + width / 2 * (1 + np.cos(angles)), top + height / 2 * (1 + np.sin(angles))], axis=1)
    return [round(float(value), 2) for value in points.ravel()]


def write_yolo(root: Path, split: str, images: Sequence[Composed], classes: Sequence[str]) -> None:
    """Write labels/SPLIT/NAME.txt and data.yaml."""
    for image in images:
        lines = []
        for number, thing in enumerate(image.things, start=1):
            x, y, width, height = image.box(number)
            values = [(x + width / 2) / CANVAS, (y + height / 2) / CANVAS, width / CANVAS, height / CANVAS]
            lines.append(f"{thing.class_index} " + " ".join(f"{value:.6f}" for value in values))
        _write(root / "labels" / split / f"{image.name}.txt", "".join(f"{line}\n" for line in lines))
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(classes))
    _write(root / "data.yaml", f"train: images/train\nval: images/val\ntest: images/test\nnames:\n{names}")


def write_voc(root: Path, split: str, images: Sequence[Composed], classes: Sequence[str]) -> None:
    """Write Annotations/NAME.xml, with Pascal VOC's inclusive pixels counted from 1, and ImageSets/Main/SPLIT.txt."""
    for image in images:
        things = []
        for number, thing in enumerate(image.things, start=1):
            x, y, width, height = image.box(number)
            corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
            box = "".join(f"      <{name}>{value}</{name}>\n" for name, value in corners.items())
            things.append(
                f"  <object>\n    <name>{escape(classes[thing.class_index])}</name>\n    <difficult>0</difficult>\n"
                f"    <bndbox>\n{box}    </bndbox>\n  </object>\n"
            )
        size = f"  <size><width>{CANVAS}</width><height>{CANVAS}</height><depth>3</depth></size>\n"
        head = f"<annotation>\n  <filename>{image.name}.png</filename>\n{size}"
        _write(root / "Annotations" / f"{image.name}.xml", f"{head}{''.join(things)}</annotation>\n")
    _write(root / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{image.name}\n" for image in images))
    _write(root / "classes.txt", "".join(f"{name}\n" for name in classes))


def write_masks(root: Path, split: str, images: Sequence[Composed], classes: Sequence[str]) -> None:
    """Write masks/SPLIT/NAME.png and classes.txt, the background first."""
    for image in images:
        path = root / "masks" / split / f"{image.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.mask()).save(path)
    _write(root / "classes.txt", "".join(f"{name}\n" for name in ("background", *classes)))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


Writer = Callable[[Path, str, Sequence[Composed], Sequence[str]], None]

FORMATS: Mapping[str, tuple[str, Writer]] = {
    "coco": ("{split}", write_coco),
    "yolo": ("images/{split}", write_yolo),
    "voc": ("JPEGImages", write_voc),
    "masks": ("images/{split}", write_masks),
}
"""The folder of a split's images, and the function that writes its labels, by format."""


def write_split(
    out: Path, split: str, images: Sequence[Composed], classes: Sequence[str], formats: Sequence[str]
) -> None:
    """Write a split in each format into `out/FORMAT`; further formats link to the first one's images."""
    first: dict[str, Path] = {}
    for name in formats:
        folder, write = FORMATS[name]
        target = out / name / folder.format(split=split)
        target.mkdir(parents=True, exist_ok=True)
        for image in images:
            path = target / f"{image.name}.png"
            if image.name in first:
                path.unlink(missing_ok=True)
                os.link(first[image.name], path)
            else:
                Image.fromarray(image.pixels).save(path)
                first[image.name] = path
        write(out / name, split, images, classes)


def pictures_of(cifar: Path) -> tuple[tuple[str, ...], dict[str, Pictures]]:
    """Return the classes' names, and the pictures that each split is made of."""
    dataset = load_cifar10(cifar, None)
    order = np.random.default_rng(0).permutation(len(dataset.train))
    cut = round(VAL_PORTION * len(order))
    parts = {"train": dataset.train.subset(order[cut:]), "val": dataset.train.subset(order[:cut]), "test": dataset.test}
    return dataset.classes, {name: _as_pictures(part) for name, part in parts.items()}


def _as_pictures(split: Split) -> Pictures:
    images = split.images().permute(0, 2, 3, 1).contiguous().numpy()
    return Pictures(images=images, classes=split.targets_N.numpy())


def main() -> None:
    """Write the data and print how many images and objects there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True, help="folder of CIFAR-10 in its binary version")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--formats", nargs="+", choices=sorted(FORMATS), default=list(FORMATS))
    for split, num in {"train": 6000, "val": 600, "test": 1000}.items():
        parser.add_argument(f"--{split}", type=int, default=num, help=f"number of images, {num} by default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    classes, pictures = pictures_of(options.cifar)
    for number, (split, source) in enumerate(pictures.items()):
        images = [
            compose(f"{split}_{i:05}", source, np.random.default_rng((options.seed, number, i)))
            for i in range(getattr(options, split))
        ]
        write_split(options.out, split, images, classes, options.formats)
        print(f"{split}: {len(images)} images, {sum(len(image.things) for image in images)} objects", flush=True)


if __name__ == "__main__":
    main()
