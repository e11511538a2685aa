"""The names of classes in a file, one a line."""

from __future__ import annotations

from pathlib import Path

from hwnas.errors import RequestError
from safe_files import FileError, read_text

NAMES_FILE = "classes.txt"
"""Names of classes beside data that have numbers alone."""

MOST_BYTES = 1 << 20


def read_names(path: Path) -> tuple[str, ...]:
    """Return the names of classes in a file, in the order of their indices.

    Raises:
        RequestError: there are none, a line is empty, or a name is there twice.
    """
    try:
        names = [line.strip() for line in read_text(path, max_bytes=MOST_BYTES).rstrip().splitlines()]
    except FileError as error:
        raise RequestError(str(error)) from error
    if not names:
        raise RequestError(f"{path}: expected the name of a class in each line, found none; add them")
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if not name or name in seen:
            found = f"{name!r} again" if name else "an empty line"
            raise RequestError(f"{path}, line {number}: expected another name for each class, found {found}; mend it")
        seen.add(name)
    return tuple(names)
