"""Latencies of architectures from a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lut.errors import MissingLatencyError, TableError
from lut.table import LatencyTable
from search_spaces import Architecture, SearchSpace, SpaceSpec


class LatencyModel:
    """Predicts the latency of architectures of one space on the device of one table.

    Raises:
        TableError: the table is of another space or input size.
        MissingLatencyError: a block of the space was never measured, or failed to be.
    """

    def __init__(self, space: SearchSpace, table: LatencyTable, *, name: str = "the table") -> None:
        if table.space != space.spec:
            raise TableError(
                f"{name} is for {table.space}; this search is for {space.spec}. Build a table for it: "
                + profile_command(space.spec, table, "another.lut.json")
            )
        self.space = space
        self.table = table
        missing = {b.key: b for b in space.candidates if not b.is_identity and b.key not in table.latency_ms}
        if missing:
            first = next(iter(missing))
            total = len({b.key for b in space.candidates if not b.is_identity})
            why = table.by_key[first].error if first in table.by_key else "never measured"
            raise MissingLatencyError(
                f"no latency for {first} in {name} ({len(missing)} of {total} blocks; {why}); "
                f"run: {profile_command(space.spec, table, name)} --fresh"
            )
        self._block_ms = np.array([0.0 if b.is_identity else table.block_ms(b.key) for b in space.candidates])

    def predict_ms(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Predicted latency of each architecture, in milliseconds per forward pass.

        Sums the (calibrated) latencies of the chosen blocks. Assumes the table's batch size, precision and threads.

        Args:
            architectures: [num_architectures, num_decisions] choice indices.

        Returns:
            [num_architectures] milliseconds.
        """
        return self.table.offset_ms + self.space.block_sum(self._block_ms, architectures)

    def predict_one_ms(self, architecture: Architecture) -> float:
        """Predicted latency of one architecture, in milliseconds per forward pass."""
        return float(self.predict_ms(np.array([architecture]))[0])

    def extreme(self, *, slowest: bool = False) -> tuple[Architecture, float]:
        """The fastest (or slowest) architecture and its predicted milliseconds.

        Coordinate descent over decisions: exact where each decision changes blocks of its own, as in chain spaces.
        """
        sign = -1.0 if slowest else 1.0
        best = np.zeros(len(self.space.decisions), dtype=np.int64)
        best_ms = self.predict_one_ms(tuple(best))
        improved = True
        while improved:
            improved = False
            for position, decision in enumerate(self.space.decisions):
                variants = np.repeat(best[None], len(decision.choices), axis=0)
                variants[:, position] = np.arange(len(decision.choices))
                predicted = self.predict_ms(variants)
                winner = int(np.argmin(sign * predicted))
                if sign * predicted[winner] < sign * best_ms:
                    best, best_ms, improved = variants[winner], float(predicted[winner]), True
        return tuple(int(c) for c in best), best_ms


def profile_command(spec: SpaceSpec, like: LatencyTable, output: str) -> str:
    """The command that builds a table for a space on the device and in the precision of another table."""
    device, precision = like.provenance.device, like.provenance.precision
    return (
        f"hwnas profile --space {spec.name} --input-size {spec.input_size} --channels {spec.in_channels} "
        f"--classes {spec.num_classes} --width {spec.width:g} "
        f"--device {device['name']} --threads {device['threads']} --batch {device['batch']} --precision {precision} "
        f"-o {output}"
    )
