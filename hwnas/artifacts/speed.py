"""The speed of the machine before a search, by a table's reference models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.records import READ_IN_PART


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class TimedTable:
    """The drift that timing a table's references gave, and the identity of that table."""

    table: str
    drift: Annotated[float, Field(gt=0)] | None
    version: Literal[1] = 1

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        return {"table": self.table, "drift": self.drift, "version": self.version}
