"""From measurements to milliseconds: latency tables, their files, and predictions for architectures."""

from lut.build import build_table, plan_table
from lut.errors import LaterTableError, MissingLatencyError, TableError
from lut.model import LatencyModel
from lut.provenance import Provenance
from lut.table import LatencyTable, load_table, save_table

__all__ = [
    "LatencyModel",
    "LatencyTable",
    "LaterTableError",
    "MissingLatencyError",
    "Provenance",
    "TableError",
    "build_table",
    "load_table",
    "plan_table",
    "save_table",
]
