"""Files of data sets that others made: regular ones only, and never more than so many bytes."""

from __future__ import annotations

from pathlib import Path

from hwnas.errors import RequestError
from safe_files import FileError, open_regular, read_bytes

MOST_BYTES = 2**30
"""The most bytes that a file that is read whole may hold, unpacked: more than any data set of its kind."""


def require_regular(path: Path) -> None:
    """Raise RequestError for what is there no regular file: pipes would be waited for, devices read without end."""
    try:
        open_regular(path).close()
    except FileError as error:
        raise RequestError(str(error)) from error


def read_file(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        RequestError: there is none, it cannot be read, or is larger than that.
    """
    try:
        return read_bytes(path, max_bytes=MOST_BYTES)
    except FileError as error:
        raise RequestError(str(error)) from error
