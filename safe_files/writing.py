"""Files that survive a crash: written whole or not at all, or appended to line by line."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safe_files.drafts import drafting
from safe_files.errors import FileError
from safe_files.reading import parse_json, read_bytes
from safe_files.refusals import explaining


@contextmanager
def replacing(path: Path, *, needed_bytes: int | None = None) -> Iterator[Path]:
    """Yield a draft path beside `path`, which takes the place of `path` when the block ends, and vanishes if it fails.

    Args:
        needed_bytes: what is to be written, where that is known.

    Raises:
        WriteError: there is no room, or nothing may be written there.
    """
    with explaining(path, needed_bytes=needed_bytes), drafting(path) as draft:
        yield draft
        draft.replace(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a draft folder beside `path`, which takes its place when the block ends, and vanishes if it fails.

    Raises:
        WriteError: there is no room, or nothing may be written there.
    """
    with explaining(path), drafting(path) as draft:
        draft.mkdir()
        yield draft
        shutil.rmtree(path, ignore_errors=True)
        with suppress(FileExistsError):  # another process has put one of its own there in between
            put_folder(draft, path)


def put_folder(draft: Path, path: Path) -> None:
    """Move a folder to where none is.

    Raises:
        FileExistsError: one is.
    """
    try:
        draft.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        WriteError: there is no room, or nothing may be written there.
    """
    content = text.encode()
    with replacing(path, needed_bytes=len(content)) as draft:
        draft.write_bytes(content)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all.

    Raises:
        WriteError: there is no room, or nothing may be written there.
    """
    with replacing(target, needed_bytes=source.stat().st_size) as draft:
        shutil.copyfile(source, draft)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines, none where there is no file; the file stays as it is.

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
        WriteError: the file cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        whole = _whole_lines(path)
        self.records: list[dict[str, Any]] = _records(whole, path)
        self._path, self._num_bytes = path, len(whole)
        with explaining(path):
            # Not buffered: what there was no room for must not be tried again as the file is closed.
            self._file = path.open("ab", buffering=0)
            self._file.truncate(len(whole))  # else the next record would be glued to the rest of the cut line

    def append(self, record: Mapping[str, object]) -> None:
        """Add one record, whole or not at all.

        Raises:
            WriteError: there is no room, or nothing may be written there.
        """
        line = json.dumps(record).encode() + b"\n"
        with explaining(self._path, needed_bytes=len(line)):
            try:
                self._write(line)
            except OSError:
                with suppress(OSError):
                    self._file.truncate(self._num_bytes)
                raise
        self._num_bytes += len(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[self._file.write(left) :]  # a disk that becomes full takes a part
        os.fsync(self._file.fileno())

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
