"""The table that a run was begun with, and how fast the machine was by it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads Python's own from 3.12 on only

from hwnas.errors import RequestError, RunError
from hwnas.records import read_record
from hwnas.run import OWN_TABLE, Run
from lut import LatencyTable, load_table

SPEED = "speed.json"
"""The file that keeps what timing the table's references gave, once before the search, and of which table."""


class Timed(TypedDict):
    """The drift that timing a table's references gave, and the identity of that table."""

    table: str
    drift: Annotated[float, Field(gt=0)] | None


def kept_table(run: Run) -> LatencyTable:
    """Return the table of a run; of one that has begun, the table that it was begun with.

    Raises:
        RequestError: it is another than the run was begun with.
        TableError: it cannot be read.
    """
    table = run.given_table or load_table(run.folder / OWN_TABLE)
    # Runs of earlier versions kept no copy, but wrote down which table it was.
    is_old = run.has_begun and run.inputs is None
    if is_old and (record := speed_record(run)) is not None and record["table"] != identity(table):
        raise RequestError(
            f"{run.table_name} is not the table that {run.folder} was begun with: expected {record['table']}, found "
            f"{identity(table)}; give that table with --lut"
        )
    return table


def speed_record(run: Run) -> Timed | None:
    """Return what is written down of how fast the machine was; None where nothing is that can be read."""
    try:
        record: Timed = read_record(Timed, run.folder / SPEED)
    except RunError:
        return None
    return record


def identity(table: LatencyTable) -> str:
    """Return a text that tells tables apart."""
    total_ms = float(np.sum(list(table.estimates_ms.values())))
    return f"{table.provenance.date}, {len(table.estimates_ms)} models of {total_ms:.9g} ms"
