"""Data sets of Hugging Face's library `datasets`, as it saves them to disk."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.images import opened
from hwnas.dataflow.items import Reading, Source, dataset_of
from hwnas.dataflow.split_folders import split_named
from hwnas.errors import RequestError
from hwnas.progress import Reporter
from onnx_models.image_size import ImageSize

STATE = "state.json"
"""A file that every split has that was saved to disk."""


def load_hugging_face(
    root: Path,
    input_size: ImageSize | None,
    *,
    skip_broken_images: bool = False,
    is_grey: bool = False,
    reporter: Reporter | None = None,
) -> Dataset:
    """Images of a folder that `save_to_disk` of Hugging Face's `datasets` made, of one split or of several.

    The images are those of the column of features `Image`, the classes those of `ClassLabel`, or integers in a column
    `label`. Columns are read as they lie in the files: nothing of the data set is run.

    Args:
        root: the folder.
        input_size: pixels a side, or height and width; None for those of the first image where it is square, else 64.
        skip_broken_images: leave out what cannot be read instead of refusing it.
        is_grey: whether images have one channel.

    Raises:
        RequestError: it is no such folder, `datasets` is not installed, or there is not one column of each kind.
    """
    tables = _by_split(root, _loaded(root))
    features = next(iter(tables.values())).features
    image, label = _column(root, features, "Image", ("image", "img")), _label_column(root, features)
    sources = {
        split: Source(
            name=f"{root} ({split})",
            items=_Images(table, image),
            targets_N=_targets(root, split, table, label),
            identity=[split, image, _identity(root)],
        )
        for split, table in tables.items()
    }
    reading = Reading(input_size=input_size, skip_broken=skip_broken_images, is_grey=is_grey, reporter=reporter)
    return dataset_of("huggingface", sources, getattr(features[label], "names", None), reading)


class _Images:
    """The images of a column, decoded here; classes come from a column of their own."""

    def __init__(self, table: Any, column: str) -> None:
        from datasets import Image as ImageFeature

        self._table = table.select_columns([column]).cast_column(column, ImageFeature(decode=False))
        self._column = column

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, position: int) -> tuple[Image.Image, int]:
        content = self._table[position][self._column]["bytes"]
        if content is None:
            raise RequestError("it is the name of a file: save the data set with its images in it")
        return opened(io.BytesIO(content)), 0


def _loaded(root: Path) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise RequestError(
            "data of Hugging Face need its library, which is not installed: pip install 'hwnas[datasets]'"
        ) from error
    if not root.is_dir() or not any((root / name).is_file() for name in (STATE, "dataset_dict.json")):
        raise RequestError(
            f"{root} holds no data set that save_to_disk of Hugging Face's datasets made: expected a folder with "
            f"{STATE} or dataset_dict.json; save one there, or name another with --data-root"
        )
    try:
        return datasets.load_from_disk(str(root))
    except Exception as error:  # of many libraries, for files that are damaged
        raise RequestError(f"cannot read the data set in {root}: {type(error).__name__}: {error}") from error


def _by_split(root: Path, loaded: Any) -> dict[str, Any]:
    """Return the tables by our names of splits.

    Raises:
        RequestError: there is none to train on, or two are for one split.
    """
    if not isinstance(loaded, Mapping):
        return {"train": loaded}
    found: dict[str, Any] = {}
    for name, table in loaded.items():
        split = split_named(str(name))
        if split is None or split in found:
            continue
        found[split] = table
    if "train" not in found:
        raise RequestError(f"{root} has the splits {', '.join(map(str, loaded)) or 'none'}: expected train among them")
    return found


def _column(root: Path, features: Mapping[str, Any], kind: str, preferred: Sequence[str]) -> str:
    """Return the one column of a kind, or that of a preferred name where there are several."""
    columns = [name for name, feature in features.items() if type(feature).__name__ == kind]
    chosen = [name for name in preferred if name in columns] or columns
    if not chosen or (len(columns) > 1 and chosen == columns):
        described = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise RequestError(f"{root} has the columns {described}: expected one of {kind}, found {len(columns)}")
    return chosen[0]


def _label_column(root: Path, features: Mapping[str, Any]) -> str:
    is_integer = "int" in str(getattr(features.get("label"), "dtype", "")) if "label" in features else False
    has_names = any(type(feature).__name__ == "ClassLabel" for feature in features.values())
    return "label" if is_integer and not has_names else _column(root, features, "ClassLabel", ("label",))


def _targets(root: Path, split: str, table: Any, label: str) -> NDArray[np.int64]:
    targets = np.array(
        [-1 if target is None else target for target in table.with_format(None)[label][:]], dtype=np.int64
    )
    if (num := int((targets < 0).sum())) or not len(targets):
        raise RequestError(
            f"{root} ({split}): {num} of {len(targets)} images have no class in the column {label!r}, as splits for "
            "challenges often have none: expected a class each; leave that split out"
        )
    return targets


def _identity(root: Path) -> list[list[str | int]]:
    """Return what changes with the files of a data set."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    facts = [(path, path.stat()) for path in paths]
    return [[str(path.resolve()), found.st_size, found.st_mtime_ns] for path, found in facts]
