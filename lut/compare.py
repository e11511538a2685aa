"""Two tables side by side, and partial tables made one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

from lut.build import finished
from lut.errors import TableError
from lut.provenance import Provenance
from lut.table import LatencyTable
from profilers import Measurement
from profilers.samples import Samples
from profilers.visits import place_of
from search_spaces import SearchSpace


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
    origins = [_origin(t) for t in (first, second)]
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


def merge_tables(tables: Sequence[LatencyTable], space: SearchSpace) -> LatencyTable:
    """Join the entries and networks of all tables into one, calibrated and certified anew.

    A block that several tables measured keeps all its samples, as restarts of their own: such blocks tell how fast the
    device was each time.

    Raises:
        TableError: the tables differ in space, device, runtime or precision, hold the same samples, or latencies that
            are no samples.
    """
    for table in tables[1:]:
        _require_same_origin(tables[0], table)
    _require_own_samples(tables)
    return finished(reduce(_joined, tables), space)


def _joined(one: LatencyTable, other: LatencyTable) -> LatencyTable:
    """Return the entries and networks of both, neither calibrated nor certified."""
    samples = _samples(one).followed_by(_samples(other))
    found = samples.measurements
    networks = {n.measurement.key: n for n in (*other.networks, *one.networks)}
    return replace(
        one,
        entries=tuple(measurement for key, measurement in found.items() if key not in networks),
        networks=tuple(replace(networks[key], measurement=found[key]) for key in found if key in networks),
        layouts={**one.layouts, **other.layouts},
        energy_mj={**one.energy_mj, **other.energy_mj},
        pace=samples.pace,
        provenance=_joined_provenance(one.provenance, other.provenance),
        calibration=None,  # what is said of either table's blocks is not said of all blocks of both
        certificate=None,
    )


def _joined_provenance(one: Provenance, other: Provenance) -> Provenance:
    return replace(
        one,
        date=max(one.date, other.date),
        rounds=one.rounds + other.rounds,
        throttled_rounds=one.throttled_rounds + other.throttled_rounds,
        onnx_sha256={**one.onnx_sha256, **other.onnx_sha256},
    )


def _samples(table: LatencyTable) -> Samples:
    return Samples(measurements={m.key: m for m in _measurements(table)}, pace=table.pace)


def _require_same_origin(first: LatencyTable, table: LatencyTable) -> None:
    if table.space != first.space:
        raise TableError(f"tables of different spaces do not merge: {first.space} and {table.space}")
    one, other = _origin(first), _origin(table)
    differing = sorted(k for k in {*one, *other} if one.get(k) != other.get(k) and k not in ("date", "rounds", "seed"))
    if differing:
        raise TableError(f"tables that differ in {', '.join(differing)} do not merge: measurements never mix")


def _require_own_samples(tables: Sequence[LatencyTable]) -> None:
    """Raise TableError unless every table has samples, and they are its own: what is counted twice looks certain."""
    if any(table.reported for table in tables):
        raise TableError("expected measured tables, found an imported or adapted one: there are no samples to merge")
    for one, other in combinations(tables, 2):
        mine, theirs = ({m.key: m for m in _measurements(t)} for t in (one, other))
        if same := [key for key in mine if key in theirs and _share_samples(mine[key], theirs[key])]:
            raise TableError(
                f"expected tables that were measured separately, found the same samples of {same[0]} in two of them "
                f"({len(same)} blocks and networks): leave one of the tables out"
            )


def _share_samples(one: Measurement, other: Measurement) -> bool:
    """Return whether all samples of either are in the other, in whatever restarts; single samples tell nothing."""
    mine, theirs = (set(zip(place_of(m.visits).tolist(), m.wall_ns, m.cpu_ns, strict=True)) for m in (one, other))
    return min(len(mine), len(theirs)) > 1 and (mine <= theirs or theirs <= mine)


def _measurements(table: LatencyTable) -> tuple[Measurement, ...]:
    return (*table.entries, *(n.measurement for n in table.networks))


def _origin(table: LatencyTable) -> dict[str, str]:
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
