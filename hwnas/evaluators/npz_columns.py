"""Columns of an npz file that others wrote."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from safe_files import open_regular

MAX_COLUMNS = 1000

MAX_ROW_BYTES = 1 << 12
"""Largest entry of a column; the cells of NAS-Bench-201 are texts of 59 characters."""

MAX_COLUMN_BYTES = 1 << 27

_HEADER_ERRORS = (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError, tokenize.TokenError)
"""Numpy reads a header as Python's literals, and raises whatever their parser does."""


class ArrayError(ValueError):
    """A file holds something else than columns of so many rows."""


def read_columns(path: Path, *, length: int) -> dict[str, NDArray[Any]]:
    """Return the one-dimensional arrays of an npz file by name; nothing is read before its size is known.

    Args:
        length: rows that every column must have.

    Raises:
        FileError: the file cannot be read.
        ArrayError: it holds something else, or columns of other lengths, or objects, which would be code.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                names = [info.filename for info in archive.infolist()]
                if len(names) > MAX_COLUMNS or len(set(names)) < len(names):
                    raise ArrayError(f"expected at most {MAX_COLUMNS} columns, each once, found {len(names)}")
                return {name.removesuffix(".npy"): _column(archive, name, length) for name in names}
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            # RuntimeError: encrypted; NotImplementedError: a compression that this Python has not
            raise ArrayError(f"expected an npz file: {str(error)[:200]}") from error


def _column(archive: zipfile.ZipFile, name: str, length: int) -> NDArray[Any]:
    with archive.open(name) as member:
        try:
            dtype = _dtype(member, length)
        except _HEADER_ERRORS as error:
            raise ArrayError(f"{name}: expected {length} rows: {error}") from error
        content = member.read(length * dtype.itemsize + 1)
    if len(content) != length * dtype.itemsize:
        raise ArrayError(f"{name}: expected {length} rows of {dtype}, found another number of bytes")
    return np.frombuffer(content, dtype=dtype)


def _dtype(member: IO[bytes], length: int) -> np.dtype[Any]:
    """Return the element type that an array's header tells, once it is of that length and of bounded size."""
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(member)
    if shape != (length,) or dtype.hasobject or not 0 < dtype.itemsize <= MAX_ROW_BYTES:
        raise ValueError(f"found {dtype} of shape {shape}")
    if length * dtype.itemsize > MAX_COLUMN_BYTES:
        raise ValueError(f"found rows of {dtype.itemsize} bytes")
    return dtype
