"""Image folders that tests make and load."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from hwnas.dataflow import Dataset, load_dataset


def fill(folder: Path, *, num: int = 6, grey: int = 0, suffix: str = ".png") -> Path:
    """A folder with so many images, each of another grey."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num):
        Image.new("L", (9, 9), grey + index).save(folder / f"{index}{suffix}")
    return folder


def fill_classes(root: Path, *, num: int = 6, grey: int = 0) -> Path:
    """Two classes of so many images each."""
    for index, name in enumerate(("cats", "dogs")):
        fill(root / name, num=num, grey=grey + 20 * index)
    return root


def load(root: Path, **settings: bool) -> Dataset:
    """The folder's data set, 4 pixels a side."""
    return load_dataset("folder", root, input_size=4, **settings)
