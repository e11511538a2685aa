"""What a program gives as an argument, checked as the command line checks its flags; errors name the argument."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike, fspath
from pathlib import Path

import numpy as np
import torch

from hwnas.cli.ranges import require_in_range
from hwnas.errors import RequestError
from hwnas.quantities import parse_image_size
from onnx_models.image_size import ImageSize

File = str | PathLike[str]


def plain(given: object) -> object:
    """Return numbers and arrays of numpy and of torch as numbers and lists; all else as it is."""
    return given.tolist() if isinstance(given, np.generic | np.ndarray | torch.Tensor) else given


def text(name: str, given: object, example: str) -> str:
    """Return an argument that is a text.

    Args:
        example: of one.

    Raises:
        RequestError: it is something else.
    """
    if not isinstance(given, str):
        raise RequestError(f"{name}: expected a text such as {example!r}, got {given!r}")
    return given


def texts(name: str, given: object) -> tuple[str, ...]:
    """Return the texts of an argument; one text alone has them between commas, as a flag does.

    Raises:
        RequestError: it is something else.
    """
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(","))
    parts = listed(name, given, "texts")
    found = tuple(part for part in parts if isinstance(part, str))
    if len(found) < len(parts):
        raise RequestError(f"{name}: expected a list of texts, got {given!r}")
    return found


def listed(name: str, given: object, words: str) -> tuple[object, ...]:
    """Return the items of an argument that is a list, a tuple, or anything that gives items in order.

    Args:
        words: what it is a list of.

    Raises:
        RequestError: it is something else; a text would be taken for its letters.
    """
    found = plain(given)
    if not isinstance(found, Iterable) or isinstance(found, str | bytes | dict | set | frozenset):
        raise RequestError(f"{name}: expected a list of {words}, got {given!r}")
    return tuple(found)


def file(name: str, given: object) -> Path:
    """Return the path of a file or a folder.

    Raises:
        RequestError: it is none.
    """
    if not isinstance(given, str | PathLike) or not isinstance(fspath(given), str):
        raise RequestError(f"{name}: expected the path of a file or a folder, got {given!r}")
    return Path(fspath(given))


def number(name: str, given: object) -> float:
    """Return a number that the flag of that name takes.

    Raises:
        RequestError: it is none, or out of range.
    """
    found = plain(given)
    require_in_range(name, found)  # type: ignore[arg-type]
    assert isinstance(found, int | float)
    return found


def count(name: str, given: object, *, least: int = 0) -> int:
    """Return a whole number.

    Raises:
        RequestError: it is none, or below the least.
    """
    found = plain(given)
    if not isinstance(found, int) or isinstance(found, bool) or found < least:
        raise RequestError(f"{name}: expected a whole number of {least} or more, got {given!r}")
    return found


def whole(name: str, given: object) -> int:
    """Return a whole number that the flag of that name takes.

    Raises:
        RequestError: it is none, or out of range.
    """
    number(name, given)
    return count(name, given)


def size(name: str, given: object) -> ImageSize:
    """Return the size of images in 224, "224", "128x256" or (128, 256).

    Raises:
        RequestError: it is none of these, or out of range.
    """
    found = plain(given)
    sides = list(map(plain, found)) if isinstance(found, list | tuple) else [found]
    is_size = isinstance(found, str) or all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    try:
        return parse_image_size((found if isinstance(found, str) else sides) if is_size else None)
    except RequestError as error:
        raise RequestError(f"{name}: {str(error).rpartition(', got ')[0]}, got {given!r}") from error
