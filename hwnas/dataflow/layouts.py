"""Data sets as they are commonly published: those that a loader does not read are named, with what to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hwnas.dataflow.listing import is_hidden

_CIFAR_URL = "https://www.cs.toronto.edu/~kriz"
_PER_CLASS = "copy each image into a folder of its class and name the folder around them"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One way in which data are published.

    Attributes:
        signs: patterns of paths within the data's folder, or of its own name; one of them tells.
        reader: the loader that reads it, None for none.
        is_like_classes: whether its folders could be taken for classes.
    """

    what: str
    remedy: str
    signs: tuple[str, ...]
    reader: str | None = None
    is_like_classes: bool = False


LAYOUTS = (
    Layout(
        what="CIFAR-10 in its Python or Matlab version, whose files are programs or matrices that are not read here",
        remedy=f"take the binary version, {_CIFAR_URL}/cifar-10-binary.tar.gz, with --data cifar10",
        signs=("cifar-10-python*", "cifar-10-batches-py", "cifar-10-matlab*", "cifar-10-batches-mat", "data_batch_1"),
    ),
    Layout(
        what="CIFAR-100 in its Python or Matlab version, whose files are programs or matrices that are not read here",
        remedy=f"take the binary version, {_CIFAR_URL}/cifar-100-binary.tar.gz, with --data cifar100",
        signs=("cifar-100-python*", "cifar-100-matlab*"),
    ),
    Layout(
        what="CIFAR-10 in its binary version",
        remedy="read it with --data cifar10",
        signs=("cifar-10-binary*", "cifar-10-batches-bin", "data_batch_1.bin"),
        reader="cifar10",
    ),
    Layout(
        what="CIFAR-100 in its binary version",
        remedy="read it with --data cifar100",
        signs=("cifar-100-binary*", "fine_label_names.txt"),
        reader="cifar100",
    ),
    Layout(
        what="MNIST or a relative in a folder below",
        remedy="name the folder of the four IDX files itself with --data-root",
        signs=("*/*-idx3-ubyte*", "*/raw/*-idx3-ubyte*"),
    ),
    Layout(
        what="MNIST or a relative as IDX files",
        remedy="read it with --data idx",
        signs=("*[-.]idx3-ubyte*",),
        reader="idx",
    ),
    Layout(
        what="a data set with COCO's annotations, boxes rather than a class per image",
        remedy=f"read them with --data coco for detection; to classify, cut the objects out, or {_PER_CLASS}",
        signs=(
            "annotations/instances_*.json",
            "annotations/captions_*.json",
            "_annotations.coco.json",
            "*/_annotations.coco.json",
        ),
        reader="coco",
        is_like_classes=True,
    ),
    Layout(
        what="a data set with YOLO's labels, boxes rather than a class per image",
        remedy=f"read them with --data yolo for detection; to classify, cut the objects out, or {_PER_CLASS}",
        signs=("labels/*.txt", "labels/*/*.txt", "*/labels/*.txt"),
        reader="yolo",
        is_like_classes=True,
    ),
    Layout(
        what="a data set as Pascal VOC is, its images in one folder and its annotations in another",
        remedy=f"read it with --data voc for detection; to classify, choose a class per image, {_PER_CLASS}",
        reader="voc",
        signs=("JPEGImages", "*/JPEGImages", "*/*/JPEGImages"),
        is_like_classes=True,
    ),
    Layout(
        what="ImageNet as Kaggle packs it",
        remedy="move the images of val/ into folders of their classes, then name the folder Data/CLS-LOC",
        signs=("Data/CLS-LOC", "ILSVRC/Data/CLS-LOC"),
        is_like_classes=True,
    ),
    Layout(
        what="ImageNet with its validation images in one flat folder, as they are downloaded",
        remedy="move each into a folder of its class (wordnet id), as in train/",
        signs=("ILSVRC2012_val_*", "val/ILSVRC2012_val_*"),
        is_like_classes=True,
    ),
    Layout(
        what="ImageNet's archives",
        remedy="unpack them to train/CLASS/ and val/CLASS/",
        signs=("ILSVRC2012_img_*.tar",),
    ),
)

FORMATS = {
    ".csv": f"labels in a table (CSV): {_PER_CLASS}",
    ".tsv": f"labels in a table (TSV): {_PER_CLASS}",
    ".json": f"labels in JSON: {_PER_CLASS}",
    ".parquet": f"Parquet tables, which are not read here: write their images out, {_PER_CLASS}",
    ".arrow": "Arrow tables: take what save_to_disk of Hugging Face's datasets made with --data huggingface",
    ".tfrecord": f"TFRecords, which are not read here: write their images out, {_PER_CLASS}",
    ".mdb": f"LMDB, which is not read here: write its images out, {_PER_CLASS}",
    ".h5": f"HDF5, which is not read here: write its images out, {_PER_CLASS}",
    ".hdf5": f"HDF5, which is not read here: write its images out, {_PER_CLASS}",
    ".npz": f"NumPy arrays, which are not read here: write them out as images, {_PER_CLASS}",
    ".npy": f"NumPy arrays, which are not read here: write them out as images, {_PER_CLASS}",
    ".mat": f"Matlab's matrices, which are not read here: write them out as images, {_PER_CLASS}",
    ".pkl": f"pickles, which are programs and not read here: write their images out, {_PER_CLASS}",
    ".zip": "an archive: unpack it and name its folder",
    ".tar": "an archive: unpack it and name its folder; take WebDataset's shards with --data webdataset",
    ".gz": "an archive: unpack it and name its folder",
    ".tgz": "an archive: unpack it and name its folder",
    ".xz": "an archive: unpack it and name its folder",
    ".7z": "an archive: unpack it and name its folder",
    ".rar": "an archive: unpack it and name its folder",
}
"""Descriptions of files that lie where folders of classes are expected, and what to do, by the files' suffix."""


def known_layout(root: Path, *, reader: str, only_like_classes: bool = False) -> str | None:
    """Return what a folder or file is and what to do, where it is known and not for the reader named; else None."""
    for layout in LAYOUTS:
        if layout.reader != reader and (layout.is_like_classes or not only_like_classes):
            if sign := next((sign for sign in layout.signs if root.match(sign)), None):
                return f"{root} is {layout.what}; {layout.remedy}"
            found = next((path for sign in layout.signs for path in root.glob(sign)), None) if root.is_dir() else sign
            if found:
                return f"{root} holds {layout.what} ({found.relative_to(root)}); {layout.remedy}"
    return None


def known_format(root: Path) -> str | None:
    """Return what a file, or most known files in a folder, are by suffix, and what to do; None for nothing known."""
    paths = [root] if root.is_file() else [path for path in root.iterdir() if path.is_file()] if root.is_dir() else []
    suffixes = Counter(path.suffix.lower() for path in paths if not is_hidden(path.name))
    known = [suffix for suffix, _ in suffixes.most_common() if suffix in FORMATS]
    if not known:
        return None
    return f"{root} is {FORMATS[known[0]]}" if root.is_file() else f"{root} holds {FORMATS[known[0]]}"
