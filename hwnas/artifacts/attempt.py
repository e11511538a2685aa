"""The decision about winners that missed their budgets once they were exported."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from hwnas.artifacts.found import FoundNetwork
from hwnas.measured import Measured
from hwnas.records import READ_IN_PART
from search_spaces import Architecture


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class MissedWinner:
    """A winner that missed its budget.

    Attributes:
        exported: its latency as exported.
        finalist: its latency before it was named the winner.
    """

    architecture: Architecture
    exported: Measured
    finalist: Measured

    @property
    def room(self) -> float:
        """The factor by which it took longer once exported, less what the machine is slower by; others will, too."""
        ratio = self.exported.latency_ms / self.finalist.latency_ms
        return max(1.0, ratio / self.exported.slower_by(self.finalist))

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        return {
            "architecture": list(self.architecture),
            "exported": self.exported.as_dict(),
            "finalist": self.finalist.as_dict(),
        }


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class NearestNetwork:
    """The network that should keep a budget that nothing kept, and its milliseconds on the machine as it is now."""

    architecture: Architecture
    now_ms: float

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        return {"architecture": list(self.architecture), "now_ms": self.now_ms}


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class Decision:
    """The decision about winners that missed their budgets.

    Attributes:
        missed: the winners, by name.
        networks: what is retrained in their places, by name; none where no finalist is left.
        nearest: for names without one, the network that should keep the budget, if any does.
    """

    missed: dict[str, MissedWinner]
    networks: dict[str, FoundNetwork]
    nearest: dict[str, NearestNetwork | None]
    version: Literal[1] = 1

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        return {
            "missed": {name: missed.as_dict() for name, missed in self.missed.items()},
            "networks": {name: network.as_dict() for name, network in self.networks.items()},
            "nearest": {name: None if n is None else n.as_dict() for name, n in self.nearest.items()},
            "version": self.version,
        }
