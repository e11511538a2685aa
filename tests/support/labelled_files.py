"""Writers of small labelled data sets in the formats of others: every image is of one level, which tells its class."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CLASSES, PER_CLASS, SIZE = ("cat", "dog", "owl"), 6, 8

Member = tuple[str, bytes]
"""A file in a shard: its name and its content."""


def level(number: int, position: int) -> int:
    """The level of an image of a class."""
    return 20 + 70 * number + 5 * position


def png(brightness: int) -> bytes:
    """The file of an image of one level."""
    file = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (brightness,) * 3).save(file, "PNG")
    return file.getvalue()


def shard_members(numbers: Iterable[int] = range(len(CLASSES)), *, label: str = "number") -> list[Member]:
    """The members of a shard of those classes, told by a number, a name or a JSON."""
    found: list[Member] = []
    for number in numbers:
        for position in range(PER_CLASS):
            key = f"{number}-{position}"
            end, text = {
                "number": ("cls", str(number)),
                "name": ("cls", CLASSES[number]),
                "json": ("json", json.dumps({"label": number, "caption": "x"})),
            }[label]
            found += [(f"{key}.png", png(level(number, position))), (f"{key}.{end}", text.encode())]
    return found


def write_shard(path: Path, members: Iterable[Member]) -> Path:
    """Write a shard; return where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))
    return path


def hugging_face_features() -> Any:
    """The columns of a data set of images and classes; the test is skipped without Hugging Face's library."""
    datasets = pytest.importorskip("datasets", reason="needs hwnas[datasets]")
    return datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})


def hugging_face_table(rows: Iterable[tuple[bytes, int | None]] | None = None) -> Any:
    """A data set of Hugging Face's, of images and classes that are given, or of all of ours."""
    features = hugging_face_features()
    import datasets

    ours = ((png(level(n, p)), n) for n in range(len(CLASSES)) for p in range(PER_CLASS))
    chosen = list(ours if rows is None else rows)
    images = [{"bytes": content, "path": None} for content, _ in chosen]
    return datasets.Dataset.from_dict({"image": images, "label": [label for _, label in chosen]}, features=features)
