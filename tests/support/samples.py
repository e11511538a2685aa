"""Small spaces and made-up tables."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lut import LatencyTable, Provenance
from lut.build import block_counts, certificate_of
from lut.networks import NetworkMeasurement, draw_networks
from profilers import Measurement
from profilers.device import find_device
from search_spaces import Architecture, Decision, SearchSpace, SpaceSpec


class ToySpace:
    """Six decisions of four choices; choice 0 anywhere is the same network wherever it stands."""

    decisions = tuple(Decision(name=f"d{i}", choices=("a", "b", "c", "d")) for i in range(6))

    def sample(self, rng: np.random.Generator) -> Architecture:
        return tuple(int(c) for c in rng.integers(0, 4, 6))

    def canonical(self, architecture: Architecture) -> Architecture:
        kept = [c for c in architecture if c]
        return tuple(kept + [0] * (6 - len(kept)))


@dataclass
class SumConstraint:
    """The sum of the choices is limited."""

    limit: float

    def is_met(self, architecture: Architecture) -> bool:
        return self.cost(architecture) <= self.limit

    def cost(self, architecture: Architecture) -> float:
        return float(sum(architecture))


def small_spec(name: str, **changes: object) -> SpaceSpec:
    """A space small enough to build and run in a test."""
    fields = {"name": name, "input_size": 16, "in_channels": 1, "num_classes": 10, "width": 0.25}
    return SpaceSpec(**{**fields, **changes})


NUM_NETWORKS = 12
"""Whole networks of a made-up table."""


def synthetic_table(space: SearchSpace, *, seed: int = 0, scale_ns: float = 1e6) -> LatencyTable:
    """A table with made-up but consistent samples for every block of a space, certified by networks that take about as
    long as their blocks."""
    table = bare_table(space, seed=seed, scale_ns=scale_ns)
    rng = np.random.default_rng(seed)
    networks = []
    for number, plan in enumerate(draw_networks(space, NUM_NETWORKS, seed=seed)):
        counts = block_counts(space, plan.architecture)
        ns = 1e6 * sum(table.latency_ms[key] * num for key, num in counts.items()) * rng.uniform(0.985, 1.015)
        measurement = Measurement(
            key=plan.key,
            visits=tuple(range(10**4 + number, 10**4 + number + 50, 10)),
            wall_ns=tuple(int(ns * factor) for factor in rng.uniform(0.999, 1.001, 5)),
            cpu_ns=(1,) * 5,
        )
        networks.append(NetworkMeasurement(architecture=plan.architecture, role=plan.role, measurement=measurement))
    table = replace(table, networks=tuple(networks))
    return replace(table, certificate=certificate_of(table, space))


def bare_table(space: SearchSpace, *, seed: int = 0, scale_ns: float = 1e6) -> LatencyTable:
    """A table with made-up but consistent samples for every block of a space, and nothing else."""
    rng = np.random.default_rng(seed)
    keys = sorted({b.key for b in space.candidates if not b.is_identity})
    entries = tuple(
        Measurement(
            key=key,
            visits=tuple(range(number, 5 * len(keys), len(keys))),
            wall_ns=tuple(int(ns) for ns in scale_ns * rng.uniform(0.1, 1.0) * rng.uniform(0.99, 1.01, 5)),
            cpu_ns=(1,) * 5,
        )
        for number, key in enumerate(keys)
    )
    provenance = Provenance(
        device=find_device("cpu").settings(),
        worker={"onnxruntime": "test"},  # of no machine: any may take it for its own
        precision="fp32",
        date="2026-01-01T00:00:00+00:00",
        rounds=5,
        onnx_sha256=dict.fromkeys(keys, "0" * 64),
    )
    return LatencyTable(space=space.spec, provenance=provenance, entries=entries)


def scaled(table: LatencyTable, factor: float) -> LatencyTable:
    """The table of a machine on which everything takes so many times as long."""

    def longer(m: Measurement) -> Measurement:
        return replace(m, wall_ns=tuple(int(factor * t) for t in m.wall_ns))

    networks = tuple(replace(n, measurement=longer(n.measurement)) for n in table.networks)
    return replace(table, entries=tuple(map(longer, table.entries)), networks=networks)


def measured_again(table: LatencyTable) -> LatencyTable:
    """The same blocks and networks measured another time."""
    return scaled(table, 1.0001)


def history_of(path: Path) -> list[dict[str, object]]:
    """A search's records."""
    return [json.loads(line) for line in path.read_text().splitlines()]
