"""The file of a table of kernels: JSON with a version and a checksum, validated when it is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lut.errors import LaterTableError, TableError
from lut.kernel_table import KernelTable
from safe_files import FileError, first_fault, read_json, write_text

FORMAT = "hwnas-kernel-table"
VERSION = 1

_ADAPTER = TypeAdapter(KernelTable)


def save_kernels(table: KernelTable, path: Path) -> None:
    """Write the table, whole or not at all.

    Raises:
        WriteError: there is no room for it, or nothing may be written there.
    """
    content = _canonical(_ADAPTER.dump_python(table, mode="json", by_alias=True))
    envelope = f'"format":"{FORMAT}","version":{VERSION},"sha256":"{_digest(content)}"'
    write_text(path, f'{{{envelope},\n"kernels":{content}}}\n')


def load_kernels(path: Path) -> KernelTable:
    """Return the table in a file.

    Raises:
        TableError: the file is missing, no table of kernels of this version, changed since it was written, or says
            what no table can say.
        LaterTableError: a later version wrote it.
    """
    try:
        document = read_json(path)
    except FileError as error:
        raise TableError(f"cannot read the kernels {path}: {error}; make them with hwnas profile --kernels") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TableError(
            f'{path} holds no kernels: expected "format": "{FORMAT}"; make them with hwnas profile --kernels'
        )
    _require_version(path, document.get("version"))
    content = _canonical(document.get("kernels"))
    if _digest(content) != document.get("sha256"):
        raise TableError(f"{path} was changed after it was written (checksum); profile again or restore a copy")
    try:
        return _ADAPTER.validate_json(content, strict=True)
    except ValidationError as error:
        fault = first_fault(error, whole="the table")[0]
        raise TableError(f"{path} does not follow the schema of kernels: {fault}; profile again") from error


def _require_version(path: Path, version: object) -> None:
    if type(version) is int and version > VERSION:
        raise LaterTableError(
            f"{path} was written by a later version of hwnas (schema version {version}, this one reads {VERSION}): use "
            "that one, or profile again"
        )
    if version != VERSION or type(version) is not int:
        raise TableError(f"{path} has schema version {version!r}, this release reads {VERSION}; profile again")


def _canonical(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), sort_keys=True)


def _digest(content: str) -> str:
    return hashlib.sha256(f"{VERSION}:{content}".encode()).hexdigest()
