"""Files that survive a crash: written whole or not at all, or appended to line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


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


class JsonLines:
    """An append-only file of JSON objects, one a line; each is on disk when `append` returns.

    Attributes:
        records: what was there when the file was opened; a last line that a crash cut short is dropped.

    Raises:
        ValueError: a whole line is not a JSON object.
    """

    def __init__(self, path: Path) -> None:
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        self.records: list[dict[str, Any]] = [_json_object(line, path) for line in whole.splitlines()]
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


def _json_object(line: bytes, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"{path} has a line that is not a JSON object: {line[:80]!r}")
    return record
