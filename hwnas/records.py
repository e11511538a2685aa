"""The records in files of a run's folder, checked against what they should say."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from hwnas.errors import LaterVersionError, RunError
from safe_files import FileError, first_fault, read_json

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
READ_IN_PART = ConfigDict(extra="ignore", allow_inf_nan=False, populate_by_name=True)
"""Pydantic settings of records that have all their fields here, and of those that others may add to."""

Count = Annotated[int, Field(ge=0, lt=2**53)]

MAKE_AGAIN = "remove it to make it again"
"""The remedy for most damaged files."""

_Record = TypeVar("_Record")


def read_record(kind: type[_Record], path: Path, *, remedy: str = MAKE_AGAIN) -> _Record:
    """Return the record in a JSON file.

    Raises:
        LaterVersionError: a later version of hwnas wrote it.
        RunError: the file cannot be read, or says something else than a record of that kind.
    """
    try:
        content = read_json(path)
    except FileError as error:
        raise RunError(f"{error}; {remedy}") from error
    _require_known_version(kind, content, path, remedy=remedy)
    record: _Record = as_record(kind, content, path, remedy=remedy)
    return record


def refuse_later_version(kind: type, path: Path, *, remedy: str = MAKE_AGAIN) -> None:
    """Raise LaterVersionError for a record that a later version wrote; whoever reads it says what else is wrong."""
    try:
        content = read_json(path)
    except FileError:
        return
    _require_known_version(kind, content, path, remedy=remedy)


def _require_known_version(kind: type, content: object, path: Path, *, remedy: str) -> None:
    if not (is_dataclass(kind) and isinstance(content, dict)):
        return
    known = next((field.default for field in fields(kind) if field.name == "version"), 1)
    found = content.get("version")
    assert isinstance(known, int)
    if type(found) is int and found > known:
        raise LaterVersionError(
            f"{path} was written by a later version of hwnas (version {found}, this one reads {known}): use that one, "
            f"or {remedy}"
        )


def as_record(kind: type[_Record], content: object, path: Path, *, remedy: str = MAKE_AGAIN) -> Any:
    """Return the record that a file's content describes; text is no number, and neither is true.

    Raises:
        RunError: it describes another.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        fault, found = first_fault(error)
        raise RunError(f"{path} is damaged: {fault}, got {str(found)[:80]!r}; {remedy}") from error
