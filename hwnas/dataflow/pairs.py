"""The pairs of a folder's images that are to be compared, for tasks that are scored by pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from hwnas.dataflow.files import read_file
from hwnas.errors import RequestError


def read_pairs(path: Path, folder: Path, images: Sequence[Path]) -> torch.Tensor:
    """Return [num, 2] positions of the images that each line names.

    By their paths within the folder, or as Labeled Faces in the Wild does: `NAME 1 4` are NAME/NAME_0001 and
    NAME/NAME_0004, `NAME 1 OTHER 2` are of two people.

    Raises:
        RequestError: the file is no text, or a line of it names no two images.
    """
    try:
        lines = read_file(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}; save it anew") from error
    position_of = {str(image.relative_to(folder).with_suffix("")): i for i, image in enumerate(images)}
    found = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or all(_is_number(word) for word in words):
            continue  # LFW's first line counts the others
        names = _names(words)
        if names is None:
            expected = "two images, or NAME 1 4, or NAME 1 OTHER 2"
            raise RequestError(f"{path}, line {number}: expected {expected}, got {line[:200]!r}")
        if missing := [name for name in names if name not in position_of]:
            raise RequestError(f"{path}, line {number}: no image {missing[0][:200]} in {folder} that can be read")
        found.append([position_of[name] for name in names])
    if not found:
        raise RequestError(f"{path} names no pairs")
    return torch.tensor(found, dtype=torch.int64)


def _names(words: Sequence[str]) -> list[str] | None:
    """Return the two images of a line; None where it is of no known form."""
    if len(words) == 2:
        return [_without_suffix(word) for word in words]
    if len(words) in (3, 4) and _is_number(words[1]) and _is_number(words[-1]):
        people = (words[0], words[0] if len(words) == 3 else words[2])
        return [
            f"{name}/{name}_{i.lstrip('0').zfill(4)}" for name, i in zip(people, (words[1], words[-1]), strict=True)
        ]
    return None


def _without_suffix(word: str) -> str:
    path = Path(word)
    return str(path.with_suffix("") if path.name else path)  # `.` and `/` have no name


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()
