"""The one table from errors to exit codes."""

from __future__ import annotations

from hwnas.errors import RequestError, RunError
from lut.errors import TableError
from profilers.errors import DeviceError, JournalError, MeasurementError, WorkerLostError
from safe_files import FileError, WriteError
from search_spaces.errors import ExportError, SpaceError
from search_spaces.importing import ImportReferenceError

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (RequestError, 2),
    (SpaceError, 2),
    (ImportReferenceError, 2),
    (DeviceError, 2),
    (JournalError, 2),
    (TableError, 2),
    (FileError, 2),
    (RunError, 1),
    (MeasurementError, 1),
    (WorkerLostError, 1),
    (ExportError, 1),
    (WriteError, 1),
)


def exit_code(error: Exception) -> int | None:
    """2 where the request was wrong, 1 where the work failed, None for a mistake of ours."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)
