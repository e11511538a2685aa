"""A few models of a table, timed again beside others: how fast the machine is now, compared with when it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lut.networks import DUPLICATE, NetworkMeasurement
from lut.precision import network_in_precision
from lut.table import LatencyTable
from onnx_models.precision import in_precision
from profilers import Model
from search_spaces import SearchSpace
from search_spaces.onnx_export import export_block

NUM_BLOCKS = 6
NUM_NETWORKS = 4
"""Enough for the median of their ratios to be known to about a per cent."""

MOST_DRIFT = 4.0
"""A machine does not become so many times slower or faster by itself: the table is another machine's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """Blocks and networks of a table, and what they took when it was made.

    Attributes:
        then_ms: by key, of blocks and networks alike.
    """

    blocks: tuple[Model, ...] = ()
    networks: tuple[Model, ...] = ()
    then_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def models(self) -> tuple[Model, ...]:
        """All blocks and networks, to be measured."""
        return self.blocks + self.networks

    def drift(self, now_ms: Mapping[str, float]) -> float | None:
        """Return how many times as long they take now: the median of networks where there are some, else of blocks.

        None where none of them was measured.
        """
        for models in (self.networks, self.blocks):
            if ratios := [now_ms[m.key] / self.then_ms[m.key] for m in models if m.key in now_ms]:
                return float(np.median(ratios))
        return None


def is_plausible(drift: float) -> bool:
    """Return whether the same machine may have become so many times slower."""
    return 1 / MOST_DRIFT <= drift <= MOST_DRIFT


def choose_references(
    table: LatencyTable,
    space: SearchSpace,
    onnx_folder: Path,
    *,
    near_ms: float,
    num_blocks: int = NUM_BLOCKS,
    num_networks: int = NUM_NETWORKS,
) -> References:
    """Choose blocks spread over the range of latencies, and the measured networks that take closest to `near_ms`.

    Only what the table has samples of: carried over or imported latencies are nobody's measurement. Exported where
    they are not in `onnx_folder` yet.

    Raises:
        ExportError: one of them cannot be exported, though the table has it.
    """
    precision, batch, opset = table.provenance.precision, table.batch, table.opset
    keys = spread_blocks(table, num_blocks)
    blocks = {b.key: b for b in space.candidates if b.key in keys}
    networks = _nearest(table, near_ms, num_networks)
    return References(
        blocks=tuple(
            Model(
                key=key,
                path=in_precision(export_block(b, onnx_folder, batch=batch, opset=opset), precision, is_part=True),
            )
            for key, b in blocks.items()
        ),
        networks=tuple(
            Model(
                key=n.measurement.key,
                path=network_in_precision(space, n.architecture, onnx_folder, precision, batch=batch, opset=opset),
            )
            for n in networks
        ),
        then_ms={key: table.estimates_ms[key] for key in (*blocks, *(n.measurement.key for n in networks))},
    )


def spread_blocks(table: LatencyTable, num: int) -> set[str]:
    """Return the keys of so many measured blocks, from the fastest to the slowest."""
    ranked = sorted(table.latency_ms.keys() & table.by_key.keys(), key=lambda key: (table.latency_ms[key], key))
    if not ranked:
        return set()
    return {ranked[i] for i in np.linspace(0, len(ranked) - 1, num).round().astype(int)}


def _nearest(table: LatencyTable, near_ms: float, num: int) -> Sequence[NetworkMeasurement]:
    measured = [n for n in table.networks if n.role != DUPLICATE and n.measurement.error is None]
    return sorted(measured, key=lambda n: abs(np.log(table.estimates_ms[n.measurement.key] / near_ms)))[:num]
