"""What is learnt: data sets held in memory as tensors, and batches of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hwnas.dataflow.augmentation import Augmentation
from hwnas.dataflow.batches import Batches
from hwnas.dataflow.cifar import load_cifar10, load_cifar100
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.dataflow.digits import load_digits
from hwnas.dataflow.folder import load_folder
from hwnas.dataflow.idx import load_idx
from hwnas.parts import find

DATAFLOWS: dict[str, Callable[[Path, int | None], Dataset]] = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "idx": load_idx,
    "folder": load_folder,
}
"""Loaders by name; each takes the data's folder and the wanted input size, None for the data's own."""


def load_dataset(name: str, root: Path, *, input_size: int | None = None) -> Dataset:
    """The data set of that name, its images resized where another input size is asked for.

    Raises:
        RequestError: there is no such data set, or its files are missing or damaged.
    """
    dataset: Dataset = find("dataflow", name)(root, input_size)
    return dataset.resized(input_size)


__all__ = ["DATAFLOWS", "Augmentation", "Batches", "Dataset", "Split", "load_dataset"]
