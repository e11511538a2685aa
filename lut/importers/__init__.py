"""Tables that others published, read into ours; one module a format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lut.errors import TableError
from lut.importers.mobile_blocks import read_once_for_all, read_proxylessnas
from lut.table import LatencyTable, block_keys
from search_spaces import make_space

FORMATS: dict[str, Callable[[Path], LatencyTable]] = {
    "once-for-all": read_once_for_all,
    "proxylessnas": read_proxylessnas,
}
"""Readers by the format's name."""


def import_table(format_name: str, path: Path, *, may_be_partial: bool = False) -> LatencyTable:
    """Read a table of a published format: uncertified, mean and spread of each block kept.

    Args:
        may_be_partial: take a table that lacks blocks of its space.

    Raises:
        TableError: the format is unknown, the file is not of it, or lacks blocks of its space.
    """
    if format_name not in FORMATS:
        raise TableError(f"unknown table format {format_name!r}; there are: {', '.join(FORMATS)}")
    table = FORMATS[format_name](path)
    space = make_space(table.space)
    if (missing := table.missing(space)) and not may_be_partial:
        raise TableError(
            f"{path} is part of a table: expected the {len(block_keys(space))} blocks of {table.space}, found none of "
            f"{len(missing)}, such as {missing[0]}; get the whole file, or give --accept-table to import what there "
            "is: no network can be predicted by it"
        )
    return table
