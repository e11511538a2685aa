"""Reasons for which the system does not let a file be written, and the remedies."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safe_files.errors import WriteError

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota of this user is used up",
    errno.EFBIG: "it would be larger than files may be here (ulimit -f)",
}
"""There is no room now; once there is, the same command goes on."""

CLOSED = {
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
}

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""The end of messages by which libraries written in Rust pass on what the system told them."""


@contextmanager
def explaining(path: Path, *, needed_bytes: int | None = None) -> Iterator[None]:
    """Say what is to be done where the system does not let `path` be written meanwhile.

    Args:
        needed_bytes: what is to be written, where that is known.

    Raises:
        WriteError: there is no room, or nothing may be written there.
    """
    try:
        yield
    except Exception as error:  # libraries wrap what the system told them in errors of their own
        if (refused := refusal(error, path, needed_bytes=needed_bytes)) in (None, error):
            raise
        raise refused from error


def refusal(error: Exception, path: Path | None = None, *, needed_bytes: int | None = None) -> WriteError | None:
    """Return what an error says of a file that cannot be written; None where it is about something else.

    Args:
        path: what was being written, where the error does not name another file; None where nobody knows.
    """
    if isinstance(error, WriteError):
        return error
    code = told_by_system(error)
    if code is None or code not in (*FULL, *CLOSED):
        return None
    place, reason = _named(error, path), FULL.get(code) or CLOSED[code]
    message = f"cannot write {place or 'a file'}: {reason}"
    if code == errno.EFBIG:
        message += "; raise that limit: then the same command continues"
    elif code in FULL:
        message += f"{_room(place, needed_bytes)}; free space there: then the same command continues"
    else:
        message += "; make it writable, or give another place: then the same command continues"
    return WriteError(message, errno=code, reason=reason)


def is_full(error: OSError) -> bool:
    """Return whether an error says that there is no room now, in a place that may be written to otherwise."""
    return error.errno in FULL


def raise_if_full(error: OSError, path: Path) -> None:
    """Raise WriteError for an error that says that there is no room to write `path`; others are left to the caller."""
    if is_full(error):
        refused = refusal(error, path)
        assert refused is not None
        raise refused from error


_WORDS = {**{os.strerror(code): code for code in (*FULL, *CLOSED)}, "Protobuf serialization failed": errno.ENOSPC}
"""Numbers of errors by the system's words for them, or ONNX Runtime's where it cannot write a model."""


def told_by_system(error: Exception) -> int | None:
    """Return the system's number of an error, also where a library put it into an error of its own."""
    if isinstance(error, OSError):
        return error.errno
    if found := _OS_ERROR.search(str(error)):
        return int(found[1])
    return next((code for words, code in _WORDS.items() if words in str(error)), None)


def free_bytes(place: Path) -> int | None:
    """Return what is free on the disk of a file or folder, which need not be there yet; None where nobody can tell."""
    for folder in (place, *place.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _named(error: Exception, path: Path | None) -> Path | None:
    name = error.filename if isinstance(error, OSError) else None
    if not isinstance(name, str):
        return path
    is_draft = path is not None and Path(name).name.startswith(f".{path.name}.")
    return path if is_draft else Path(name)


def _room(place: Path | None, needed_bytes: int | None) -> str:
    free = None if place is None else free_bytes(place)
    parts = [] if needed_bytes is None else [f"{_in_mb(needed_bytes)} needed"]
    parts += [] if free is None or place is None else [f"{_in_mb(free)} free in {place.absolute().parent}"]
    return f" ({', '.join(parts)})" if parts else ""


def _in_mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.3g} MB"
