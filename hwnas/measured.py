"""The latency of a network as it was measured."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.records import READ_IN_PART


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class Measured:
    """A network's latency as it was measured.

    Attributes:
        latency_ms: `measured_ms` in files; the percentile that the run's budget is held on, the median by default.
        repeatability: what repeats of this measurement differ by, relative: by its own two halves or the average
            network's, whichever is more, since a single difference can be small by chance.
        drift: how many times as long the table's own networks took in the same rounds as when the table was made; None
            where that cannot be told.
        p50_ms: the median, without what disturbed all models alike; None in records of earlier versions.
        p95_ms, p99_ms: of single runs, with all that disturbed them; None where there are too few runs to tell.
    """

    latency_ms: Annotated[float, Field(gt=0, validation_alias="measured_ms")]
    repeatability: Annotated[float, Field(ge=0)]
    drift: Annotated[float, Field(gt=0)] | None = None
    p50_ms: Annotated[float, Field(gt=0)] | None = None
    p95_ms: Annotated[float, Field(gt=0)] | None = None
    p99_ms: Annotated[float, Field(gt=0)] | None = None

    @property
    def at_worst_ms(self) -> float:
        """The milliseconds that a repeat of the measurement may give at worst."""
        return self.latency_ms * (1 + self.repeatability)

    @property
    def table_ms(self) -> float | None:
        """The latency on the table's terms: on the machine as it was when the table was made."""
        return None if self.drift is None else self.latency_ms / self.drift

    def slower_by(self, before: Measured) -> float:
        """Return how many times as slow the machine was as for another measurement; 1 where that cannot be told."""
        return 1.0 if self.drift is None or before.drift is None else self.drift / before.drift

    @property
    def figures(self) -> dict[str, Any]:
        """The measurement's own fields, without what else a record tells of the network."""
        return {field.name: getattr(self, field.name) for field in fields(Measured)}

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files, the latency on the table's terms too."""
        return {
            "measured_ms": self.latency_ms,
            "measured_table_ms": self.table_ms,
            "repeatability": self.repeatability,
            "drift": self.drift,
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "p99_ms": self.p99_ms,
        }
