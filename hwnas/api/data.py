"""Data that a program hands over: a data set of hwnas, map-style data sets as torch has them, or none at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from hwnas.augmentation import Augmentation
from hwnas.dataflow import Dataset, Split
from hwnas.dataflow.own import dataset_from
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize, height_width
from search_spaces import SearchSpace

NO_DATA = "no_data"
"""The name that stands for data in the settings of a search without any."""

Loader = Callable[[Path, ImageSize | None], Dataset]


def loader_of(data: object) -> Loader:
    """Return what a run loads its data by, of data that a program has.

    Args:
        data: a Dataset; a map-style data set of (image, class); or several of them: (train, test),
            (train, validation, test), or by split.
    """

    def load(_root: Path, input_size: ImageSize | None) -> Dataset:
        return data if isinstance(data, Dataset) else dataset_from("data", data, input_size)

    return load


def no_data(space: SearchSpace) -> Dataset:
    """Return what stands for data where nothing is trained: an empty image of every class.

    Raises:
        RequestError: networks of the space do not tell classes apart.
    """
    spec = space.spec
    if spec.head != "classifier":
        raise RequestError(f"a search without data is for classifiers: expected a space of them, got {spec}")
    height, width = height_width(spec.input_size)
    empty = torch.zeros(1, spec.in_channels, height, width, dtype=torch.uint8)
    split = Split(images_NCHW=empty.expand(spec.num_classes, -1, -1, -1), targets_N=torch.arange(spec.num_classes))
    return Dataset(
        name="no data",
        classes=tuple(map(str, range(spec.num_classes))),
        train=split,
        validation=split,
        test=split,
        augmentation=Augmentation(),
        normalisation=((0.0,) * spec.in_channels, (1.0,) * spec.in_channels),
    )
