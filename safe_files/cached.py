"""Files that are made once and kept, and made again where they are not as they were made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from safe_files.errors import FileError, WriteError
from safe_files.reading import read_json, sha256_of
from safe_files.refusals import explaining
from safe_files.writing import replacing, write_text


def cached(path: Path, made_of: str, make: Callable[[Path], None], *, is_fresh: bool = False) -> Path:
    """Return the file, made unless it is there as it was made of the same.

    What it was made of and its hash are noted beside it: a file that was cut, changed or exchanged is made again.

    Args:
        made_of: everything that the content depends on.
        make: writes the content to a path that it is given; the file is there whole or not at all.
        is_fresh: make it in any case.

    Raises:
        WriteError: it cannot be written.
    """
    if not is_fresh and is_as_made(path, made_of):
        return path
    try:
        with explaining(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            make(draft)
            note = {"made_of": made_of, "sha256": sha256_of(draft)}
        write_text(note_of(path), json.dumps(note))
    except WriteError:
        raise
    except OSError as error:  # a file where the folder should be, and the like
        raise WriteError(f"cannot write {path}: {error.strerror or error}; give another folder") from error
    return path


def is_as_made(path: Path, made_of: str) -> bool:
    """Return whether the file is there as it was made, of just that."""
    try:
        note = read_json(note_of(path), max_bytes=1 << 20)
        return bool(note == {"made_of": made_of, "sha256": sha256_of(path)})
    except (FileError, OSError):
        return False


def note_of(path: Path) -> Path:
    """Return where it is noted what a file was made of."""
    return path.with_name(f".{path.name}.made")
