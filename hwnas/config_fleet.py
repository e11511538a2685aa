"""The devices that a network is for besides the first: each with a table and a budget of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic.dataclasses import dataclass

from hwnas.quantities import Budget
from hwnas.records import STRICT
from hwnas.setting_types import FilePath, checked


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class FleetDevice:
    """A further device that every network must keep a budget on.

    Attributes:
        lut: its latency table.
        max_latency: the budget there: 20ms, or 60% of what the slowest network takes there.
        device: its name; None for the table's.
    """

    lut: FilePath
    max_latency: Annotated[str, checked(Budget.parse)]
    device: str | None = None
