"""The door to files that others made: regular ones only, and never more than so many bytes."""

from __future__ import annotations

import stat
from pathlib import Path

from hwnas.errors import RequestError

MOST_BYTES = 2**30
"""What a file that is read whole may hold, unpacked: more than any data set of its kind."""


def require_regular(path: Path) -> None:
    """Raise what else a path is than a file: pipes would be waited for, devices read without end.

    Raises:
        RequestError: it is not there, or no regular file.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise RequestError(f"{path} is no regular file, but a folder, pipe or device: name a file")


def read_file(path: Path, *, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        RequestError: there is none, it cannot be read, or is larger than that.
    """
    require_regular(path)
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > most_bytes:
        raise RequestError(f"{path} is larger than the {most_bytes} bytes that such a file may have")
    return content
