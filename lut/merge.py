"""Partial tables made one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import combinations

from lut.build import finished
from lut.diff import origin_of
from lut.errors import TableError
from lut.provenance import Provenance
from lut.table import LatencyTable
from profilers import Measurement
from profilers.samples import Samples
from profilers.visits import place_of
from search_spaces import SearchSpace


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
        fallbacks={**one.fallbacks, **other.fallbacks},
    )


def _samples(table: LatencyTable) -> Samples:
    return Samples(measurements={m.key: m for m in _measurements(table)}, pace=table.pace)


def _require_same_origin(first: LatencyTable, table: LatencyTable) -> None:
    if table.space != first.space:
        raise TableError(f"tables of different spaces do not merge: {first.space} and {table.space}")
    one, other = origin_of(first), origin_of(table)
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
