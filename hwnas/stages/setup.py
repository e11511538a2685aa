"""The networks that a run is about, the device that they are for, and how they are measured there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.measured import Measured
from hwnas.profiling import NO_REFERENCES, measure_networks, onnx_cache
from hwnas.progress import Reporter
from hwnas.training.randomness import numpy_rng
from lut.precision import network_in_precision
from lut.references import References
from onnx_models.precision import Precision
from profilers import Device
from search_spaces import Architecture, SearchSpace

ROUNDS = 80
"""Rounds of measuring whole networks."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Setup:
    """The networks that a run is about, the device that they are for, and how they are measured there.

    Attributes:
        precision: in which networks are measured, as the latency table's blocks were.
        seed: everything random depends on it, and on a name.
    """

    space: SearchSpace
    device: Device
    precision: Precision
    seed: int
    reporter: Reporter

    def rng(self, name: str) -> np.random.Generator:
        """Return the generator of that name."""
        return numpy_rng(self.seed, name)

    def model_of(self, architecture: Architecture) -> Path:
        """Return the file of a network with arbitrary weights, as it is measured."""
        return network_in_precision(
            self.space, architecture, onnx_cache(), self.precision, batch=self.device.batch, opset=self.device.opset
        )

    def measured(
        self,
        networks: Mapping[str, Path],
        journal: Path,
        *,
        references: References = NO_REFERENCES,
        rounds: int | None = None,
    ) -> dict[str, Measured]:
        """Measure networks interleaved with each other and with a table's references, where there are any.

        Args:
            networks: files by name.
            rounds: None for as many as usual.

        Raises:
            RunError: one of them cannot be measured.
        """
        return measure_networks(
            networks,
            self.device,
            journal,
            rounds=ROUNDS if rounds is None else rounds,
            seed=self.seed,
            reporter=self.reporter,
            references=references,
        )
