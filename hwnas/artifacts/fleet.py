"""What a network takes on the further devices of a fleet."""

from __future__ import annotations

from dataclasses import asdict
from math import inf, isinf
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from hwnas.measured import Measured
from hwnas.records import READ_IN_PART

_NotNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="ignore", populate_by_name=True))
class DeviceLatency:
    """A network's latency on a further device, and the budget that it is to keep there.

    Attributes:
        max_ms: infinite where the budget rules nothing out.
        measured: None where it was not.
    """

    predicted_ms: Annotated[float, Field(allow_inf_nan=False)]
    max_ms: Annotated[float, BeforeValidator(lambda ms: inf if ms is None else ms), Field(gt=0)]
    measured: Measured | None = None

    @property
    def is_kept(self) -> bool | None:
        """Whether the budget is kept: as measured; where nothing was, None for one that is kept by prediction."""
        if self.measured is not None:
            return self.measured.latency_ms <= self.max_ms
        return None if self.predicted_ms <= self.max_ms else False

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        fields: dict[str, object] = {
            "predicted_ms": self.predicted_ms,
            "max_ms": None if isinf(self.max_ms) else self.max_ms,
        }
        return fields if self.measured is None else {**fields, "measured": self.measured.as_dict()}


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class DeviceSummary:
    """A network's figures on a further device, of the percentile that budgets are held on.

    Attributes:
        max_latency_ms: None where the budget rules nothing out.
        measured_ms: None where it was not measured there.
        budget_kept: as measured; where nothing was, None for one that is kept by prediction.
    """

    max_latency_ms: _NotNegative | None
    predicted_ms: _NotNegative
    measured_ms: _NotNegative | None = None
    budget_kept: bool | None = None

    @classmethod
    def of(cls, latency: DeviceLatency) -> DeviceSummary:
        """Return the figures of a latency."""
        return cls(
            max_latency_ms=None if isinf(latency.max_ms) else latency.max_ms,
            predicted_ms=latency.predicted_ms,
            measured_ms=None if latency.measured is None else latency.measured.latency_ms,
            budget_kept=latency.is_kept,
        )

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        return asdict(self)
