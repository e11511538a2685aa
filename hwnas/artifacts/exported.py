"""The outcome of exporting networks: proof, and latencies as exported."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.measured import Measured
from hwnas.records import READ_IN_PART
from onnx_models.parity import Parity
from search_spaces import Architecture


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class ExportedNetwork(Measured):
    """A network's latency as exported.

    Attributes:
        first_ms: the first measurement, where one of its budgets was missed by it; the latency repeats it.
        float_ms: of the same network in float, measured interleaved; None where it is what is measured, or a reference.
        fleet: its latencies on the further devices of a fleet that were measured, by their names.
    """

    architecture: Architecture
    first_ms: float | None
    float_ms: float | None = None
    fleet: dict[str, Measured] = Field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        own = {"architecture": list(self.architecture), "first_ms": self.first_ms, "float_ms": self.float_ms}
        fleet = {"fleet": {name: measured.as_dict() for name, measured in self.fleet.items()}} if self.fleet else {}
        return {**own, **Measured.as_dict(self), **fleet}


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class Exported:
    """The outcome of exporting.

    Attributes:
        parity: comparisons with torch, by file.
        networks: by name; none where nothing can be measured.
    """

    parity: dict[str, Parity]
    networks: dict[str, ExportedNetwork]
    version: Literal[1] = 1

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        return {
            "parity": {name: asdict(parity) for name, parity in self.parity.items()},
            "networks": {name: network.as_dict() for name, network in self.networks.items()},
            "version": self.version,
        }
