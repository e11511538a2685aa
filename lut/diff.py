"""Two tables side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from lut.errors import TableError
from lut.table import LatencyTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The differences between two tables.

    Attributes:
        provenance: what differs in origin, as (name, first, second).
        num_common: blocks that both have.
        only_first, only_second: blocks that one has.
        median_ratio: second over first, over the common blocks.
        ratio_spread: 90th over 10th percentile of that ratio, less 1.
        kendall_tau: rank correlation of the common blocks; None where they cannot be ranked, such as a single one.
        ratios: second over first by key, those furthest from the median first.
    """

    provenance: tuple[tuple[str, str, str], ...]
    num_common: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    median_ratio: float
    ratio_spread: float
    kendall_tau: float | None
    ratios: dict[str, float]


def compare_tables(first: LatencyTable, second: LatencyTable) -> Difference:
    """Compare the blocks of two tables by their isolated latencies.

    Raises:
        TableError: they have no block in common.
    """
    common = sorted(first.latency_ms.keys() & second.latency_ms.keys())
    if not common:
        raise TableError(f"the tables have no block in common: {first.space} and {second.space}")
    one, other = (np.array([t.latency_ms[key] for key in common]) for t in (first, second))
    ratio = other / one
    median = float(np.median(ratio))
    order = np.argsort(-np.abs(np.log(ratio / median)))
    low, high = np.quantile(ratio, (0.1, 0.9))
    tau = float(kendalltau(one, other).statistic)
    origins = [origin_of(t) for t in (first, second)]
    return Difference(
        provenance=tuple((k, a, origins[1].get(k, "")) for k, a in origins[0].items() if a != origins[1].get(k, "")),
        num_common=len(common),
        only_first=tuple(sorted(first.latency_ms.keys() - second.latency_ms.keys())),
        only_second=tuple(sorted(second.latency_ms.keys() - first.latency_ms.keys())),
        median_ratio=median,
        ratio_spread=float(high / low - 1),
        kendall_tau=None if math.isnan(tau) else tau,
        ratios={common[i]: float(ratio[i]) for i in order},
    )


def origin_of(table: LatencyTable) -> dict[str, str]:
    """Return where a table's numbers come from, as texts by name."""
    provenance = table.provenance
    device = {f"device.{k}": str(v) for k, v in provenance.device.items()}
    worker = {f"worker.{k}": str(v) for k, v in provenance.worker.items()}
    return {
        **device,
        **worker,
        "precision": provenance.precision,
        "is_emulated": str(provenance.is_emulated),
        "date": provenance.date,
        "rounds": str(provenance.rounds),
        "seed": str(provenance.seed),
    }
