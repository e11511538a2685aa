"""Two tables side by side, and partial tables made one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import kendalltau

from lut.build import finished
from lut.errors import TableError
from lut.networks import NetworkMeasurement
from lut.table import LatencyTable
from profilers import Measurement
from profilers.measurement import SITTING_STRIDE
from profilers.pace import Pace
from search_spaces import SearchSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How two tables differ.

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

    A block that several tables measured keeps all its samples, as sittings of their own: such blocks tell how fast the
    device was each time.

    Raises:
        TableError: the tables differ in space, device, runtime or precision.
    """
    merged = tables[0]
    for table in tables[1:]:
        if table.space != merged.space:
            raise TableError(f"tables of different spaces do not merge: {merged.space} and {table.space}")
        one, other = _origin(merged), _origin(table)
        differing = sorted(k for k in one if one[k] != other.get(k) and k not in ("date", "rounds", "seed"))
        if differing:
            raise TableError(f"tables that differ in {', '.join(differing)} do not merge: measurements never mix")
        visits = [v for m in (*merged.entries, *(n.measurement for n in merged.networks)) for v in m.visits]
        shift = (max(visits, default=0) // SITTING_STRIDE + 1) * SITTING_STRIDE
        mine, theirs = merged.by_key, {m.key: _shifted(m, shift) for m in table.entries}
        networks = {n.measurement.key: n for n in merged.networks}
        for network in table.networks:
            moved = replace(network, measurement=_shifted(network.measurement, shift))
            key = moved.measurement.key
            networks[key] = _joined_network(networks[key], moved) if key in networks else moved
        merged = replace(
            merged,
            entries=tuple(
                mine[key].joined(theirs[key]) if key in mine and key in theirs else mine.get(key) or theirs[key]
                for key in {**mine, **theirs}
            ),
            networks=tuple(networks.values()),
            layouts={**merged.layouts, **table.layouts},
            energy_mj={**merged.energy_mj, **table.energy_mj},
            pace=_joined_pace(merged.pace, table.pace, shift),
            provenance=replace(
                merged.provenance,
                date=max(merged.provenance.date, table.provenance.date),
                rounds=min(merged.provenance.rounds, table.provenance.rounds),
                onnx_sha256={**merged.provenance.onnx_sha256, **table.provenance.onnx_sha256},
            ),
        )
    return finished(merged, space)


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


def _shifted(measurement: Measurement, shift: int) -> Measurement:
    return replace(measurement, visits=tuple(v + shift for v in measurement.visits))


def _joined_pace(one: Pace | None, other: Pace | None, shift: int) -> Pace | None:
    if one is None or other is None:
        return one if other is None else replace(other, visits=tuple(v + shift for v in other.visits))
    return Pace(
        visits=one.visits + tuple(v + shift for v in other.visits),
        wall_ns=one.wall_ns + other.wall_ns,
        cpu_ns=one.cpu_ns + other.cpu_ns,
        after_wall_ns=one.after_wall_ns + other.after_wall_ns,
        after_cpu_ns=one.after_cpu_ns + other.after_cpu_ns,
    )


def _joined_network(one: NetworkMeasurement, other: NetworkMeasurement) -> NetworkMeasurement:
    return replace(one, measurement=one.measurement.joined(other.measurement))
