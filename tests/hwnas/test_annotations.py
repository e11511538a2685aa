"""Boxes and masks as people have them on disk: the same set in every format, and every broken file by its place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from annotated_data import CLASSES, PICTURES, WRITERS, save_images
from PIL import Image

from hwnas.dataflow import Dataset, images, load_dataset
from hwnas.dataflow.annotated import MOST_BOXES
from hwnas.dataflow.letterbox import Letterbox
from hwnas.dataflow.outlines import drawn
from hwnas.dataflow.targets import BORDER, IGNORED, NO_BOX
from hwnas.errors import RequestError

ROOT = Path(__file__).resolve().parents[2]
SIZE = (32, 32)


def load(name: str, root: Path, **settings: Any) -> Dataset:
    WRITERS[name](root)
    return load_dataset(name, root, input_size=32, **settings)


def splits_of(dataset: Dataset) -> list[Any]:
    assert dataset.validation is not None
    return [dataset.train, dataset.validation, dataset.test]


def test_the_three_formats_of_boxes_give_the_same(tmp_path: Path) -> None:
    coco, yolo, voc = (load(name, tmp_path / name) for name in ("coco", "yolo", "voc"))
    for other in (yolo, voc):
        assert other.classes == coco.classes == CLASSES and other.target_kind == "boxes"
        for one, two in zip(splits_of(coco), splits_of(other), strict=True):
            assert torch.equal(one.images(), two.images())
            torch.testing.assert_close(one.targets_N, two.targets_N, atol=1e-4, rtol=0)
    assert coco.train.targets_N.shape == (4, 3, 5) and coco.test.targets_N.shape == (2, 3, 5)


def test_masks_of_files_and_of_outlines_are_the_same(tmp_path: Path) -> None:
    files, outlines = (load(name, tmp_path / name) for name in ("masks", "coco-masks"))
    assert files.classes == outlines.classes == ("background", *CLASSES)
    for one, two in zip(splits_of(files), splits_of(outlines), strict=True):
        assert torch.equal(one.images(), two.images())
        differs = one.targets_N != two.targets_N
        assert differs.float().mean() < 0.02  # pixels that an edge cuts in two


@pytest.mark.parametrize("name", ["coco", "yolo", "voc"])
def test_boxes_are_around_their_objects_in_letterboxed_images(name: str, tmp_path: Path) -> None:
    for split in splits_of(load(name, tmp_path)):
        for image, rows in zip(split.images(), split.targets_N, strict=True):
            for class_, *corners in rows[rows[:, 0] != NO_BOX].tolist():
                seen = (image[int(class_)] > 127) & (image.sum(dim=0) < 300)  # an object's colour, not the border's
                down, right = torch.nonzero(seen, as_tuple=True)
                bounds = [right.min(), down.min(), right.max() + 1, down.max() + 1]
                assert all(abs(float(b) - c) < 1.01 for b, c in zip(bounds, corners, strict=True))


def test_letterboxes_keep_the_ratio_and_are_grey_beside_the_image(tmp_path: Path) -> None:
    dataset = load("coco", tmp_path)
    assert (dataset.validation is not None) and (dataset.validation.images()[1][:, :10] == BORDER).all()
    assert Letterbox.of((20, 60), SIZE) == Letterbox(before=(20, 60), after=SIZE, left=0, top=10, width=32, height=11)
    assert Letterbox.of((8, 16), (32, 32)).point(16, 8) == (32, 24)
    mask = load("masks", tmp_path / "m").test.targets_N[0]
    assert (mask[:, :4] == IGNORED).all() and set(mask.unique().tolist()) == {0, 2, IGNORED}


def test_images_keep_their_size_where_all_have_one(tmp_path: Path) -> None:
    WRITERS["yolo"](tmp_path)
    assert load_dataset("yolo", tmp_path).input_size == 320
    for path in tmp_path.glob("images/*/*.png"):
        Image.new("RGB", (24, 20)).save(path)
    assert load_dataset("yolo", tmp_path).input_size == (20, 24)
    assert load_dataset("yolo", tmp_path, is_grey=True).in_channels == 1


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def coco(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda root: change_json(root / "annotations/instances_train2017.json", change)


def bbox(*values: float) -> Callable[[Path], None]:
    return coco(lambda content: content["annotations"][1].update(bbox=list(values)))


def line(text: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = root / "labels/train/a.txt"
        path.write_text(f"{path.read_text().splitlines()[0]}\n{text}\n")

    return spoil


def voc(old: str, new: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = root / "VOCdevkit/VOC2007/Annotations/a.xml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return spoil


def replaced(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(content) and None


def mask(mode: str, size: tuple[int, int], value: int) -> Callable[[Path], None]:
    return lambda root: Image.new(mode, size, value).save(root / "masks/train/a.png")


ANNOTATION = r"instances_train2017.json: annotation 2 \(id 101\): "
IMAGE = r"instances_train2017.json: image 1 \(id 10\): "
LINE = r"labels/train/a.txt, line 2: "
XML = r"Annotations/a.xml, line 12: "
VOC_IMAGE = "VOCdevkit/VOC2007/JPEGImages/a.png"

BROKEN: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "coco-outside": ("coco", bbox(25, 10, 40, 20), ANNOTATION + "expected a box within 40x30 pixels, found x 25 to 65"),
    "coco-empty": ("coco", bbox(25, 10, 0, 20), ANNOTATION + "expected a width and a height above 0"),
    "coco-inverted": ("coco", bbox(25, 10, -5, 20), ANNOTATION + "expected the left edge before the right"),
    "coco-nan": ("coco", bbox(float("nan"), 10, 5, 20), ANNOTATION + "expected finite numbers, found x nan"),
    "coco-huge": ("coco", bbox(float("inf"), 10, 5, 20), ANNOTATION + "expected finite numbers, found x inf"),
    "coco-no-float": ("coco", bbox(10**400, 10, 5, 20), ANNOTATION + "expected finite numbers, found x inf"),
    "coco-three-numbers": ("coco", bbox(25, 10, 5), ANNOTATION + "expected bbox of four numbers"),
    "coco-too-many": (
        "coco",
        coco(lambda c: c["annotations"].extend({**c["annotations"][0], "id": 1000 + i} for i in range(MOST_BOXES))),
        IMAGE + "expected 2000 boxes on an image at most, found 2002 on .*a.png",
    ),
    "coco-class": (
        "coco",
        coco(lambda c: c["annotations"][1].update(category_id=5)),
        ANNOTATION + r"expected one of the categories \[2, 4, 6\], found 5",
    ),
    "coco-no-id": (
        "coco",
        coco(lambda c: c["annotations"][1].pop("id")),
        "annotation 2: expected integers id, image_id",
    ),
    "coco-unknown-image": (
        "coco",
        coco(lambda c: c["annotations"][1].update(image_id=99)),
        ANNOTATION + "found the image_id 99, which no image has",
    ),
    "coco-twice": (
        "coco",
        coco(lambda c: c["annotations"][2].update(id=101)),
        r"annotation 3 \(id 101\): expected ids of",
    ),
    "coco-image-twice": (
        "coco",
        coco(lambda c: c["images"][1].update(id=10)),
        r"image 2 \(id 10\): expected ids of one",
    ),
    "coco-file-twice": (
        "coco",
        coco(lambda c: c["images"][1].update(file_name="a.png", height=30, width=40)),
        r"image 2 \(id 11\): expected every image once",
    ),
    "coco-missing-image": (
        "coco",
        lambda r: (r / "train2017/a.png").unlink(),
        IMAGE + "expected the image .*found none",
    ),
    "coco-other-size": ("coco", coco(lambda c: c["images"][0].update(width=41)), IMAGE + "expected an image of 41x30"),
    "coco-damaged-image": ("coco", replaced("train2017/a.png", b"x"), IMAGE + "cannot read the image .*a.png"),
    "coco-outside-of-folder": (
        "coco",
        coco(lambda c: c["images"][0].update(file_name="../../secret.png")),
        IMAGE + "expected a name within",
    ),
    "yolo-outside": ("yolo", line("0 0.9 0.5 0.4 0.2"), LINE + "expected a box within 40x30 pixels, found x 28 to 44"),
    "yolo-empty": ("yolo", line("0 0.5 0.5 0 0.2"), LINE + "expected a width and a height above 0"),
    "yolo-inverted": ("yolo", line("0 0.5 0.5 -0.1 0.2"), LINE + "expected the left edge before the right"),
    "yolo-nan": ("yolo", line("0 nan 0.5 0.1 0.2"), LINE + "expected finite numbers, found '0 nan"),
    "yolo-words": ("yolo", line("cat 0.5 0.5 0.1 0.2"), LINE + "expected numbers, found 'cat"),
    "yolo-class": ("yolo", line("3 0.5 0.5 0.1 0.2"), LINE + "expected a class of 0 to 2, found 3"),
    "yolo-confidence": ("yolo", line("1 0.5 0.5 0.1 0.2 0.9"), LINE + "expected class x y width height, .* found 6"),
    "yolo-damaged-image": ("yolo", replaced("images/train/a.png", b"x"), "images/train/a.png: cannot read the image"),
    "yolo-binary-labels": ("yolo", replaced("labels/train/a.txt", b"\xff\xfe"), "labels/train/a.txt.*not UTF-8"),
    "voc-outside": ("voc", voc("<xmax>40<", "<xmax>55<"), XML + "expected a box within 40x30 pixels, found x 25 to 55"),
    "voc-empty": ("voc", voc("<xmax>40<", "<xmax>25<"), XML + "expected a width and a height above 0"),
    "voc-inverted": ("voc", voc("<xmax>40<", "<xmax>12<"), XML + "expected the left edge before the right"),
    "voc-nan": ("voc", voc("<xmax>40<", "<xmax>nan<"), XML + "expected finite numbers"),
    "voc-words": ("voc", voc("<xmax>40<", "<xmax>far<"), XML + "expected a bndbox with numbers"),
    "voc-missing-image": ("voc", lambda r: (r / VOC_IMAGE).unlink(), "a.xml: expected the image .*a.png, found none"),
    "voc-other-size": ("voc", voc("<width>40<", "<width>44<"), "a.xml: expected an image of 44x30 pixels, found"),
    "voc-many-bytes": (
        "voc",
        voc("<annotation>", '<?xml version="1.0" encoding="gbk"?><annotation>'),
        "a.xml: line 1: expected XML in UTF-8",
    ),
    "voc-no-encoding": (
        "voc",
        voc("<annotation>", '<?xml version="1.0" encoding="x"?><annotation>'),
        "a.xml: line 1: expected XML in UTF-8",
    ),
    "voc-cut-short": ("voc", voc("</annotation>", ""), r"a.xml: .*line \d+: expected XML"),
    "voc-entities": (
        "voc",
        voc("<annotation>", '<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><annotation>&d;'),
        "a.xml: line 1: expected no document type",
    ),
    "voc-outside-of-folder": ("voc", voc(">a.png<", ">../../../a.png<"), "a.xml, line 2: expected a name within"),
    "masks-class": ("masks", mask("L", (40, 30), 4), "train/a.png: expected classes of 0 to 3, or 255 .* found 4"),
    "masks-size": ("masks", mask("L", (40, 31), 1), "train/a.png: expected 40x30 pixels as .* has, found 40x31"),
    "masks-colours": ("masks", mask("RGB", (40, 30), 1), "train/a.png: expected a class index .*found the mode RGB"),
    "masks-damaged": ("masks", replaced("masks/train/a.png", b"x"), "train/a.png: cannot read the mask"),
    "masks-missing": ("masks", lambda r: (r / "masks/train/a.png").unlink(), "train/a.png: expected a mask a.png in"),
    "coco-masks-two-points": (
        "coco-masks",
        coco(lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4]])),
        ANNOTATION + "expected x and y of three points",
    ),
    "coco-masks-outside": (
        "coco-masks",
        coco(lambda c: c["annotations"][1].update(segmentation=[[1, 2, 90, 4, 5, 6]])),
        ANNOTATION + "expected points within 40x30 pixels, found 1 to 90",
    ),
    "coco-masks-huge": (
        "coco-masks",
        coco(lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4, 5, 10**400]])),
        ANNOTATION + "expected x and y of three points or more",
    ),
    "coco-masks-nan": (
        "coco-masks",
        coco(lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4, 5, float("nan")]])),
        ANNOTATION + "expected x and y of three points",
    ),
    "coco-masks-no-float": (
        "coco-masks",
        coco(lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4, 5, 10**400]])),
        ANNOTATION + "expected x and y of three points",
    ),
    "coco-masks-runs": (
        "coco-masks",
        coco(lambda c: c["annotations"][1].update(segmentation={"size": [30, 40], "counts": [5, 6]})),
        ANNOTATION + "expected run lengths that add up to 1200",
    ),
    "coco-masks-none": (
        "coco-masks",
        coco(lambda c: c["annotations"][1].pop("segmentation")),
        ANNOTATION + "expected polygons or run lengths, found None",
    ),
}
"""Data set, how it is spoilt, and what the message must say."""


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_broken_files_are_named_by_their_place_or_left_out(case: str, tmp_path: Path) -> None:
    name, spoil, words = BROKEN[case]
    WRITERS[name](tmp_path)
    whole = load_dataset(name, tmp_path, input_size=32)
    spoil(tmp_path)
    with pytest.raises(RequestError, match=f"{words}.*--skip-broken-images"):
        load_dataset(name, tmp_path, input_size=32)
    left = load_dataset(name, tmp_path, input_size=32, skip_broken_images=True)
    assert left.remarks[0].startswith(f"{tmp_path}: left out: 1 ")
    lost = len(whole.train) - len(left.train)
    if name == "masks" or lost:
        assert lost == 1
    elif whole.target_kind == "boxes":
        assert int((whole.train.targets_N[:, :, 0] >= 0).sum() - (left.train.targets_N[:, :, 0] >= 0).sum()) == 1


FATAL: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "coco-no-list": ("coco", coco(lambda c: c.pop("annotations")), "expected an object with a list of annotations"),
    "coco-no-json": ("coco", replaced("annotations/instances_train2017.json", b"{"), "is not JSON"),
    "coco-category-twice": (
        "coco",
        coco(lambda c: c["categories"][1].update(id=2)),
        "category 2: the id 2 or the name",
    ),
    "coco-other-category": (
        "coco",
        lambda r: change_json(
            r / "annotations/instances_val2017.json", lambda c: c["categories"][1].update(name="fox")
        ),
        "instances_val2017.json has the category 'fox', which .*train2017.json lacks",
    ),
    "coco-two-files": (
        "coco",
        lambda r: shutil.copy(r / "annotations/instances_train2017.json", r / "train.json"),
        "expected one COCO file for train",
    ),
    "yolo-no-names": ("yolo", replaced("data.yaml", b"train: images/train\n"), "expected one data.yaml with the names"),
    "yolo-number": ("yolo", replaced("data.yaml", b"nc: 4\nnames: [a, b]\n"), "nc says 4 classes, and names has 2"),
    "yolo-gap": ("yolo", replaced("data.yaml", b"names: {0: a, 2: b}\n"), "by number from 0 without gaps"),
    "yolo-code": ("yolo", replaced("data.yaml", b"names: !!python/object/apply:os.system [ls]\n"), "is not YAML"),
    "yolo-lists": ("yolo", replaced("data.yaml", b"names: [a, b, c]\ntrain: [[a]]\n"), "a list of paths for train"),
    "yolo-long": (
        "yolo",
        replaced("data.yaml", b"names: [a, b, c]\ntrain: " + 300 * b"a" + b"\n"),
        "expected a path within",
    ),
    "yolo-elsewhere": (
        "yolo",
        replaced("data.yaml", b"names: [a, b, c]\ntrain: ../../other/train\n"),
        "data.yaml: expected a path within .* found '../../other/train'",
    ),
    "yolo-list-elsewhere": (
        "yolo",
        lambda r: (
            (r / "data.yaml").write_text("names: [a, b, c]\ntrain: list.txt\n")
            and (r / "list.txt").write_text("images/train/a.png\n/etc/passwd.png\n")
        ),
        "list.txt, line 2: expected an image within",
    ),
    "yolo-no-labels": (
        "yolo",
        lambda r: [path.unlink() for path in r.glob("labels/*/*.txt")],
        "expected labels beside the images, as .*labels/train/a.txt",
    ),
    "voc-list": (
        "voc",
        lambda r: (r / "VOCdevkit/VOC2007/ImageSets/Main/train.txt").write_text("a\nzebra\n"),
        "train.txt, line 2: expected the name of an annotation",
    ),
    "voc-unknown-class": (
        "voc",
        lambda r: (r / "classes.txt").write_text("cat\ndog\n"),
        "Annotations/a.xml, line 12: expected one of cat, dog, found 'truck'",
    ),
    "voc-names-twice": (
        "voc",
        lambda r: (r / "classes.txt").write_text("cat\ndog\ncat\n"),
        "classes.txt, line 3: expected another name for each class, found 'cat' again",
    ),
}


@pytest.mark.parametrize("case", sorted(FATAL))
def test_what_leaves_no_data_is_refused(case: str, tmp_path: Path) -> None:
    name, spoil, words = FATAL[case]
    WRITERS[name](tmp_path)
    spoil(tmp_path)
    with pytest.raises(RequestError, match=words):
        load_dataset(name, tmp_path, input_size=32)


def test_crowds_and_difficult_objects_are_left_out_with_a_remark(tmp_path: Path) -> None:
    runs = {"size": [30, 40], "counts": [60, 600, 540]}
    crowd = coco(lambda c: c["annotations"][1].update(iscrowd=1, segmentation=runs))
    for name in ("coco", "coco-masks"):
        WRITERS[name](tmp_path / name)
        crowd(tmp_path / name)
    boxes = load_dataset("coco", tmp_path / "coco", input_size=32)
    assert boxes.remarks == (f"{tmp_path}/coco: 1 crowds (iscrowd) are left out: nobody counted their objects",)
    assert boxes.train.targets_N[0, :, 0].tolist() == [0, NO_BOX, NO_BOX]
    masks = load_dataset("coco-masks", tmp_path / "coco-masks", input_size=32)
    assert "the pixels of 1 crowds (iscrowd) are ignored" in masks.remarks[0]
    assert (masks.train.targets_N[0, 4:28, 2:17] == IGNORED).all()  # 20 of 40 columns, from the third on
    WRITERS["voc"](tmp_path / "voc")
    voc("<name>truck</name>\n<difficult>0", "<name>truck</name>\n<difficult>1")(tmp_path / "voc")
    difficult = load_dataset("voc", tmp_path / "voc", input_size=32)
    assert "1 difficult objects are left out" in difficult.remarks[0]
    assert torch.equal(difficult.train.targets_N, boxes.train.targets_N)


@pytest.mark.parametrize("width", ["0", "", "forty", "9" * 5000])
def test_what_voc_claims_of_a_width_and_no_image_has_is_not_asked_of_the_image(width: str, tmp_path: Path) -> None:
    WRITERS["voc"](tmp_path)
    expected = load_dataset("voc", tmp_path, input_size=32)
    voc("<width>40<", f"<width>{width}<")(tmp_path)
    assert torch.equal(load_dataset("voc", tmp_path, input_size=32).train.images_NCHW, expected.train.images_NCHW)


def test_compressed_run_lengths_are_unpacked_as_pycocotools_does() -> None:
    """Runs of 6, 3, 2, 3, 6 as the letters of 6, 3, 2, 3 - 3 and 6 - 2; 60 takes two letters."""
    place = Letterbox.of((5, 4), (5, 4))
    found = drawn({"size": [5, 4], "counts": "63204"}, place, most_outside=0)
    expected = torch.zeros(5, 4, dtype=torch.bool)
    expected[1:4, 1:3] = True
    assert found.tolist() == expected.tolist()
    assert drawn({"size": [30, 4], "counts": "l1l1"}, Letterbox.of((30, 4), (30, 4)), most_outside=0).sum() == 60
    assert drawn([[1, 1, 3, 1, 3, 4, 1, 4]], place, most_outside=0).tolist() == expected.tolist()


def test_pixels_of_two_classes_are_ignored(tmp_path: Path) -> None:
    WRITERS["coco-masks"](tmp_path)
    coco(lambda c: c["annotations"][1].update(segmentation=[[10, 5, 40, 5, 40, 25, 10, 25]]))(tmp_path)
    mask = load_dataset("coco-masks", tmp_path, input_size=(30, 40)).train.targets_N[0]
    assert (mask[5:25, 10:20] == IGNORED).all() and (mask[5:25, 4:10] == 1).all() and (mask[5:25, 20:] == 3).all()


def test_published_layouts_of_boxes(tmp_path: Path) -> None:
    """Roboflow's COCO and YOLO folders, and lists of images, lie elsewhere and mean the same."""
    coco_root, yolo_root = tmp_path / "c", tmp_path / "y"
    expected = load("coco", coco_root).train.targets_N
    for split, folder in {"train": "train", "val": "valid", "test": "test"}.items():
        save_images(tmp_path / "r" / folder, PICTURES[split])
        text = (coco_root / "annotations" / f"instances_{split}2017.json").read_text()
        (tmp_path / "r" / folder / "_annotations.coco.json").write_text(text)
    assert torch.equal(load_dataset("coco", tmp_path / "r", input_size=32).train.targets_N, expected)
    WRITERS["yolo"](yolo_root)
    for split in PICTURES:
        (tmp_path / "u" / split).mkdir(parents=True)
        for kind in ("images", "labels"):
            (yolo_root / kind / split).rename(tmp_path / "u" / split / kind)
    names = f"names: [{', '.join(CLASSES)}]\n"
    (tmp_path / "u" / "data.yaml").write_text(f"train: ../train/images\nval: ../val/images\ntest: test/images\n{names}")
    roboflow = load_dataset("yolo", tmp_path / "u", input_size=32)
    torch.testing.assert_close(roboflow.train.targets_N, expected, atol=1e-4, rtol=0)
    (tmp_path / "u" / "train.txt").write_text("".join(f"./train/images/{name}.png\n" for name in "abcd"))
    (tmp_path / "u" / "data.yaml").write_text(f"train: train.txt\nval: val/images\n{names}")
    listed = load_dataset("yolo", tmp_path / "u", input_size=32)
    torch.testing.assert_close(listed.train.targets_N, expected, atol=1e-4, rtol=0)
    assert listed.validation is None and "those of val are the test" in listed.remarks[0]


def test_outlines_of_yolo_are_boxes_and_images_without_labels_show_nothing(tmp_path: Path) -> None:
    WRITERS["yolo"](tmp_path)
    line("2 0.625 0.9 0.7 0.3333333333 1 1")(tmp_path)
    dataset = load_dataset("yolo", tmp_path, input_size=(30, 40))
    torch.testing.assert_close(dataset.train.targets_N[0, 1], torch.tensor([2.0, 25, 10, 40, 30]))
    assert "1 images without a file of labels" in dataset.remarks[0]


def test_images_alone_to_train_on_are_divided_always_alike(tmp_path: Path) -> None:
    WRITERS["coco"](tmp_path)
    for split in ("val", "test"):
        (tmp_path / "annotations" / f"instances_{split}2017.json").unlink()
    one, two = (load_dataset("coco", tmp_path, input_size=32) for _ in range(2))
    assert (len(one.train), len(one.test)) == (3, 1) and torch.equal(one.test.targets_N, two.test.targets_N)
    assert "a fifth is set aside for the test" in one.remarks[0]


@pytest.mark.parametrize("name", ["coco", "masks"])
def test_many_images_are_mapped_from_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = load(name, tmp_path / "data")
    monkeypatch.setattr(images, "MOST_IN_MEMORY", 1000)
    mapped = load_dataset(name, tmp_path / "data", input_size=32)
    assert mapped.train.is_on_disk and not expected.train.is_on_disk
    for one, two in zip(splits_of(mapped), splits_of(expected), strict=True):
        assert torch.equal(one.images(), two.images()) and torch.equal(one.targets_N, two.targets_N)
    assert list((tmp_path / "cache/hwnas/images").iterdir())


def write_cifar(folder: Path) -> None:
    """Write CIFAR-10's files with a few pictures of noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        records = rng.integers(0, 256, (8, 3073), dtype=np.uint8)
        records[:, 0] = rng.integers(0, 10, 8)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(f"class{i}" for i in range(10)))


def test_the_composed_set_is_the_same_in_every_format(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar")
    command = [sys.executable, str(ROOT / "benchmarks" / "composed.py"), "--cifar", str(tmp_path / "cifar"), "--out"]
    subprocess.run([*command, str(tmp_path), "--train", "5", "--val", "2", "--test", "3"], check=True, cwd=ROOT)
    found = {name: load_dataset(name, tmp_path / name) for name in ("coco", "yolo", "voc", "masks")}
    outlines = load_dataset("coco-masks", tmp_path / "coco")
    expected = found["coco"]
    assert len(expected.train) == 5 and expected.input_size == 128 and len(expected.classes) == 10
    for name in ("yolo", "voc"):
        assert found[name].classes == expected.classes
        for one, two in zip(splits_of(expected), splits_of(found[name]), strict=True):
            assert torch.equal(one.images(), two.images())
            torch.testing.assert_close(one.targets_N, two.targets_N, atol=1e-3, rtol=0)
    for mask, other, boxes in zip(
        found["masks"].train.targets_N, outlines.train.targets_N, expected.train.targets_N, strict=True
    ):
        differs = (mask != other) & (other != IGNORED)
        assert differs.float().mean() < 0.01
        for class_, x1, y1, x2, y2 in boxes[boxes[:, 0] != NO_BOX].int().tolist():
            within = mask[y1:y2, x1:x2] == class_ + 1
            assert within.float().mean() > 0.4
            assert within[0].any() and within[-1].any() and within[:, 0].any() and within[:, -1].any()
