"""Files that survive a crash: written whole or not at all, or appended to line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from safe_files.errors import FileError
from safe_files.reading import parse_json, read_bytes


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft path beside `path` to write to; takes the place of `path` when the block ends, vanishes if it fails."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, none where there is no file; it may be being written, and stays as it is.

    A last line without its end is left out: it is still being written, or a crash cut it short.

    Raises:
        FileError: a whole line is not a JSON object.
    """
    return _records(_whole_lines(path), path)


class JsonLines:
    """An append-only file of JSON objects, one a line; each is on disk when `append` returns.

    For the one process that may write the file: opening it takes away a last line that a crash cut short. Others use
    `read_json_lines`.

    Attributes:
        records: what was there when the file was opened.

    Raises:
        FileError: a whole line is not a JSON object.
    """

    def __init__(self, path: Path) -> None:
        whole = _whole_lines(path)
        self.records: list[dict[str, Any]] = _records(whole, path)
        self._file: IO[bytes] = path.open("ab")
        self._file.truncate(len(whole))  # else the next record would be glued to the rest of the cut line

    def append(self, record: Mapping[str, object]) -> None:
        """Add one record."""
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _whole_lines(path: Path) -> bytes:
    content = read_bytes(path) if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def _records(whole: bytes, path: Path) -> list[dict[str, Any]]:
    return [_json_object(line, path) for line in whole.splitlines()]


def _json_object(line: bytes, path: Path) -> dict[str, Any]:
    try:
        record = parse_json(line)
    except FileError:
        record = None
    if not isinstance(record, dict):
        raise FileError(f"{path} has a line that is not a JSON object: {line[:80]!r}")
    return record
