"""Tables of networks that a disturbance sometimes holds up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from samples import bare_table

from lut import LatencyTable
from lut.build import block_counts, certificate_of
from lut.networks import NetworkMeasurement, draw_networks
from profilers import Measurement
from search_spaces import SearchSpace

SCALE, EXTRA_MS = 1.2, 0.5
"""How many times as long one run in ten takes, and how much more."""


def tailed_table(space: SearchSpace, rounds: int) -> LatencyTable:
    """A certified table whose networks take as long as their blocks; one run in ten of each is held up."""
    table, rng = bare_table(space), np.random.default_rng(0)
    networks = []
    for number, plan in enumerate(draw_networks(space, 30, seed=0)):
        counts = block_counts(space, plan.architecture)
        median_ns = 1e6 * sum(table.latency_ms[key] * num for key, num in counts.items())
        wall_ns = median_ns * rng.normal(1.0, 0.003, rounds)
        held_up = rng.permutation(rounds) < rounds // 10
        wall_ns[held_up] = SCALE * wall_ns[held_up] + 1e6 * EXTRA_MS
        measurement = Measurement(
            key=plan.key,
            visits=tuple(10**5 + 100 * i + number for i in range(rounds)),
            wall_ns=tuple(wall_ns.astype(int).tolist()),
            cpu_ns=(1,) * rounds,
        )
        networks.append(NetworkMeasurement(architecture=plan.architecture, role=plan.role, measurement=measurement))
    table = replace(table, networks=tuple(networks), provenance=replace(table.provenance, rounds=rounds))
    return replace(table, certificate=certificate_of(table, space))
