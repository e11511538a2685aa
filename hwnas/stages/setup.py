"""The networks that a run is about, the device that they are for, and how they are measured there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hwnas.measured import Measured
from hwnas.profiling import NO_REFERENCES, measure_networks, onnx_cache
from hwnas.progress import Reporter
from hwnas.training.randomness import numpy_rng
from lut.precision import network_in_precision
from lut.references import References
from onnx_models.precision import Precision
from profilers import Device
from profilers.tails import LEAST_RUNS, MEDIAN
from search_spaces import Architecture, SearchSpace

ROUNDS = 80
"""Rounds of measuring whole networks."""

FINAL_ROUNDS = LEAST_RUNS[95]
"""Rounds of measuring models that are handed out, of which a tail is told too."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Setup:
    """The networks that a run is about, the device that they are for, and how they are measured there.

    Attributes:
        precision: in which networks are measured, as the latency table's blocks were.
        seed: everything random depends on it, and on a name.
        percentile: of single runs, that budgets are held on and latencies are.
    """

    space: SearchSpace
    device: Device
    precision: Precision
    seed: int
    reporter: Reporter
    percentile: int = MEDIAN

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
        is_final: bool = False,
    ) -> dict[str, Measured]:
        """Measure networks interleaved with each other and with a table's references, where there are any.

        Their latency is the percentile that budgets are held on; as many rounds are measured as that takes.

        Args:
            networks: files by name.
            is_final: they are handed out, so that their tail is told too.

        Raises:
            RunError: one of them cannot be measured.
        """
        return measure_networks(
            networks,
            self.device,
            journal,
            rounds=FINAL_ROUNDS if is_final else ROUNDS,
            seed=self.seed,
            reporter=self.reporter,
            references=references,
            percentile=self.percentile,
        )

    def roughly_ms(self, network: Path, *, rounds: int) -> float:
        """Return the median latency of a network by a few rounds, which tell no more than about what it takes.

        Raises:
            RunError: it cannot be measured.
        """
        with TemporaryDirectory() as scratch:
            journal = Path(scratch) / "roughly.journal"
            found = measure_networks(
                {"network": network}, self.device, journal, rounds=rounds, seed=self.seed, reporter=self.reporter
            )
        return found["network"].latency_ms
