"""Readers of files that others wrote: regular files of a bounded size, and every parser's failure as one error."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

from safe_files.errors import FileError

MAX_TEXT_BYTES = 1 << 30
"""Largest table or journal; one of 10,000 blocks with 200 samples each has 60 MB."""

MAX_DEPTH = 100
"""Levels of lists and objects within each other; our own files have fewer than 12."""


def open_regular(path: Path) -> io.BufferedReader:
    """Return the open file; never waits, as opening a named pipe without a writer would.

    Raises:
        FileError: there is none, it cannot be opened, or it is a folder, a pipe, a socket or a device.
    """
    try:
        # O_NONBLOCK is without effect on regular files.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileError(f"cannot read {path}: expected a regular file, found a folder, pipe, device or socket")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return a regular file's content.

    Raises:
        FileError: it cannot be read, or has more bytes than that.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise FileError(f"cannot read {path}: expected at most {max_bytes:,} bytes, found {size:,}")
        try:
            return file.read(max_bytes)
        except OSError as error:
            raise FileError(f"cannot read {path}: {error.strerror}") from error


def sha256_of(path: Path) -> str:
    """Return the hash of a regular file's content.

    Raises:
        FileError: it cannot be opened.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a UTF-8 file, line ends as they are.

    Raises:
        FileError: it cannot be read, is too long, or is not UTF-8.
    """
    try:
        return read_bytes(path, max_bytes=max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8 text: {error}") from error


def read_json(path: Path, *, max_bytes: int = MAX_TEXT_BYTES, allow_nan: bool = False) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileError: it cannot be read, or `parse_json` refuses it.
    """
    text = read_text(path, max_bytes=max_bytes)
    try:
        return parse_json(text, allow_nan=allow_nan)
    except FileError as error:
        raise FileError(f"{path} is not JSON: {error}") from error


def parse_json(text: str | bytes, *, allow_nan: bool = False) -> Any:
    """Return what JSON says; stricter than Python's own parser.

    Args:
        allow_nan: read NaN and infinity, for whoever looks at each number and can say where they are.

    Raises:
        FileError: it is not JSON, says NaN or infinity, has an integer of thousands of digits, or nests too deep.
    """
    try:
        content = json.loads(
            text,
            parse_constant=float if allow_nan else _refused,
            parse_float=float if allow_nan else _finite,
            object_pairs_hook=_distinct,
        )
    except ValueError as error:  # an undecodable text and an endless integer too
        raise FileError(str(error)) from error
    except RecursionError as error:
        raise FileError(f"expected at most {MAX_DEPTH} levels within each other, found many more") from error
    require_shallow(content)
    return content


def require_shallow(content: object) -> None:
    """Make sure that lists and mappings are no deeper within each other than `MAX_DEPTH`.

    Raises:
        FileError: they are; what walks through them would exhaust the stack.
    """
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inner(outer) if isinstance(inner, (dict, list))]
        if not level:
            return
    raise FileError(f"expected at most {MAX_DEPTH} levels within each other, found more")


def _inner(outer: object) -> list[object]:
    if isinstance(outer, dict):
        return list(outer.values())
    return outer if isinstance(outer, list) else []


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)[:40]!r} is there twice")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected a number that a computer can hold, found {text[:40]}")
    return value
