"""Tables that others published, read into ours; one module a format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lut.errors import TableError
from lut.importers.mobile_blocks import read_once_for_all, read_proxylessnas
from lut.table import LatencyTable

FORMATS: dict[str, Callable[[Path], LatencyTable]] = {
    "once-for-all": read_once_for_all,
    "proxylessnas": read_proxylessnas,
}
"""Readers by the format's name."""


def import_table(format_name: str, path: Path) -> LatencyTable:
    """The table in a file of a published format: uncertified, mean and spread of each block kept.

    Raises:
        TableError: the format is unknown, or the file is not of it.
    """
    if format_name not in FORMATS:
        raise TableError(f"unknown table format {format_name!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[format_name](path)
