"""Data sets that are published in another layout are named, with what to do."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from hwnas.dataflow import load_dataset
from hwnas.errors import RequestError

IMAGE = io.BytesIO()
Image.new("RGB", (8, 8)).save(IMAGE, "PNG")

FILES: dict[str, tuple[list[str], str]] = {
    "cifar10-python": (["cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/test_batch"], "Python or Matlab.*bin"),
    "cifar10-python-archive": (["cifar-10-python.tar.gz"], "CIFAR-10 in its Python.*cifar-10-binary.tar.gz"),
    "cifar100-python": (["cifar-100-python/train", "cifar-100-python/test"], "CIFAR-100 in its Python"),
    "cifar10-binary": (["cifar-10-batches-bin/test_batch.bin"], "with --data cifar10"),
    "idx": (["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"], "with --data idx"),
    "mnist-of-torchvision": (["MNIST/raw/train-images-idx3-ubyte"], "name the folder of the four IDX files itself"),
    "coco": (
        ["annotations/instances_train2017.json", "train2017/0.png", "val2017/0.png"],
        "COCO's annotations",
    ),
    "coco-of-roboflow": (
        ["train/_annotations.coco.json", "train/0.png", "valid/_annotations.coco.json", "valid/0.png"],
        "COCO's annotations",
    ),
    "yolo": (
        ["images/train/0.png", "images/val/0.png", "labels/train/0.txt", "labels/val/0.txt", "data.yaml"],
        "YOLO's labels",
    ),
    "yolo-of-roboflow": (
        [f"{part}/{kind}" for part in ("train", "valid") for kind in ("images/0.png", "labels/0.txt")],
        "YOLO's labels",
    ),
    "voc": (
        ["Annotations/0.xml", "JPEGImages/0.png", "SegmentationClass/0.png", "ImageSets/Main/train.txt"],
        "Pascal VOC",
    ),
    "imagenet-flat-val": (
        ["train/n01440764/0.png", "train/n01443537/1.png", "val/ILSVRC2012_val_00000001.png"],
        "validation images in one flat folder.*move each",
    ),
    "imagenet-of-kaggle": (["ILSVRC/Data/CLS-LOC/train/n01440764/0.png", "sample.csv"], "name the folder Data/CLS-LOC"),
    "csv": (["labels.csv", "0.png", "1.png"], r"2 images without one.*labels in a table \(CSV\): copy each image"),
    "csv-beside": (["train/0.png", "test/0.png", "train.csv"], r"1 images without one.*labels in a table"),
    "parquet": (["train-00000.parquet", "train-00001.parquet", "README.md"], "Parquet tables"),
    "zip": (["images.zip"], "an archive: unpack it"),
}


def write(root: Path, files: list[str]) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(IMAGE.getvalue() if path.suffix == ".png" else b"content")
    return root


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_is_no_folder_of_classes_is_named(name: str, tmp_path: Path) -> None:
    files, words = FILES[name]
    with pytest.raises(RequestError, match=words):
        load_dataset("folder", write(tmp_path, files), input_size=8)


def write_archive(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    return path


def test_other_versions_of_cifar_are_named_whatever_the_archive_is_called(tmp_path: Path) -> None:
    python = ["cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/test_batch"]
    for name in ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz", "download.tgz"):
        archive = write_archive(tmp_path / name, python)
        with pytest.raises(RequestError, match=r"CIFAR-10 in its Python.*cifar-10-binary\.tar\.gz"):
            load_dataset("cifar10", archive)
    other = write_archive(tmp_path / "c.tar.gz", ["cifar-100-binary/train.bin"])
    with pytest.raises(RequestError, match=r"CIFAR-100 in its binary version.*--data cifar100"):
        load_dataset("cifar10", other)
    (tmp_path / "folder").mkdir()
    write_archive(tmp_path / "folder" / "cifar-10-python.tar.gz", python)
    with pytest.raises(RequestError, match="Python"):
        load_dataset("cifar10", tmp_path / "folder")


def test_a_table_beside_folders_of_classes_is_no_other_layout(tmp_path: Path) -> None:
    files = [f"{label}/{index}.png" for label in ("cats", "dogs") for index in range(5)]
    dataset = load_dataset("folder", write(tmp_path, [*files, "labels.csv", "cifar-10-binary.tar.gz"]), input_size=8)
    assert dataset.classes == ("cats", "dogs") and "1 .csv, 1 .gz" in dataset.remarks[0]
