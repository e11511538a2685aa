"""The one table from errors to exit codes."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from hwnas.errors import LaterVersionError, RequestError, RunError
from lut.errors import TableError
from onnx_models.errors import ExportError, ModelError
from profilers.errors import ConversionError, DeviceError, JournalError, MeasurementError, WorkerLostError
from safe_files import FileError, WriteError, is_full, refusal
from safe_files.refusals import free_bytes
from search_spaces.errors import SpaceError
from search_spaces.importing import ImportReferenceError

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (RequestError, 2),
    (SpaceError, 2),
    (ModelError, 2),
    (ImportReferenceError, 2),
    (DeviceError, 2),
    (JournalError, 2),
    (TableError, 2),
    (FileError, 2),
    (RunError, 1),
    (LaterVersionError, 1),
    (MeasurementError, 1),
    (ConversionError, 1),
    (WorkerLostError, 1),
    (ExportError, 1),
    (WriteError, 1),
)

NO_ROOM_BYTES = 1_000_000
"""A disk with less than this is taken to be full."""


def verdict(error: Exception) -> tuple[int, str] | None:
    """Return the exit code of an error and what to say: 2 for a wrong request, 1 for failed work; None for a bug.

    What the system refuses, a full disk above all, is failed work, whatever a library made of it.
    """
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if code is not None:
        return code, str(error)
    if (refused := refusal(error)) is not None:
        # A write that fails does not say where it was to go.
        is_placed = refused is error or getattr(error, "filename", None)
        return 1, str(refused) + (_full_places() if is_full(refused) and not is_placed else "")
    return (1, _refused(error)) if isinstance(error, OSError) else None


def _refused(error: OSError) -> str:
    """Return what to say where neither room nor permission is missing, such as a folder where a file should be."""
    if error.filename is None:
        return f"{error.strerror or error}; give it other places, or space there (TMPDIR, XDG_CACHE_HOME)"
    return f"cannot use {error.filename}: {error.strerror}; give another place, or make this one usable"


def _full_places() -> str:
    """Return which of the places that everything is written to are full."""
    places = (Path.cwd(), Path(os.environ.get("TMPDIR") or "/tmp"), user_cache_path("hwnas"))  # noqa: S108 - only asked for its room
    full = [str(place) for place in places if (free_bytes(place) or 0) < NO_ROOM_BYTES]
    return f" (full: {', '.join(full)})" if full else ""
