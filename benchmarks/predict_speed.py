"""LatencyModel.predict_ms against summing the table entry by entry in a Python loop.

With a measured table, the time that three constraints of a million architectures take too.

python benchmarks/predict_speed.py [TABLE.json]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from lut import LatencyModel, LatencyTable, Provenance, load_table
from profilers import Measurement
from profilers.device import find_device
from search_spaces import SearchSpace, SpaceSpec, make_space
from search_spaces.cost import GraphCosts

NUM_ARCHITECTURES = 100_000
NUM_LOOPED = 2_000
REPEATS = 5


def main() -> None:
    """Print the ratio of both ways, measured alternately."""
    for path in sys.argv[1:]:
        time_constraints(load_table(Path(path)))
    space = make_space(SpaceSpec(name="fbnet-s", input_size=224, num_classes=1000))
    table = made_up_table(space)
    model = LatencyModel(space, table)
    architectures = space.sample_many(NUM_ARCHITECTURES, np.random.default_rng(0))
    rows = [tuple(row) for row in architectures[:NUM_LOOPED].tolist()]
    latency_ms = table.latency_ms | {"identity()": 0.0}
    keys = {block: block.key for block in space.candidates}
    vectorised_s, blocks_s, keys_s = [], [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        predicted = model.predict_ms(architectures)
        vectorised_s.append((time.perf_counter() - started) / NUM_ARCHITECTURES)
        started = time.perf_counter()
        looped = [sum(latency_ms[block.key] for block in space.blocks(row)) for row in rows]
        blocks_s.append((time.perf_counter() - started) / NUM_LOOPED)
        named = [[keys[block] for block in space.blocks(row)] for row in rows]
        started = time.perf_counter()
        for row in named:
            sum(latency_ms[key] for key in row)
        keys_s.append((time.perf_counter() - started) / NUM_LOOPED)
        np.testing.assert_allclose(predicted[:NUM_LOOPED], looped)
    print(f"{NUM_ARCHITECTURES:,} random architectures of {space.spec}")
    print(f"vectorised                      {np.median(vectorised_s) * 1e9:9.1f} ns an architecture")
    for name, times in (("loop over blocks", blocks_s), ("loop over keys known beforehand", keys_s)):
        ratio = np.median(np.array(times) / np.array(vectorised_s))
        print(f"{name:31s} {np.median(times) * 1e9:9.1f} ns an architecture, {ratio:.0f} times as long")


def time_constraints(table: LatencyTable) -> None:
    """Print how long calibrated latency, parameters and multiply-accumulates of a million architectures take."""
    space = make_space(table.space)
    model, costs = LatencyModel(space, table), GraphCosts(space)
    architectures = space.sample_many(1_000_000, np.random.default_rng(0))
    for _ in range(3):
        started = time.perf_counter()
        for cost in (model.predict_ms, costs.params, costs.macs):
            cost(architectures)
        print(f"{space.spec}: three costs of 1,000,000 architectures in {time.perf_counter() - started:.2f} s")


def made_up_table(space: SearchSpace) -> LatencyTable:
    """A table with some number for every block: only speed matters here."""
    blocks = [b for b in space.candidates if not b.is_identity]
    times = np.random.default_rng(0).integers(10_000, 1_000_000, len(blocks))
    entries = {
        b.key: Measurement(key=b.key, visits=(0,), wall_ns=(int(t),), cpu_ns=(1,))
        for b, t in zip(blocks, times, strict=True)
    }
    provenance = Provenance(
        device=find_device("cpu").settings(),
        worker={},
        precision="fp32",
        date="2026-01-01T00:00:00+00:00",
        rounds=1,
        onnx_sha256={},
    )
    return LatencyTable(space=space.spec, provenance=provenance, entries=tuple(entries.values()))


if __name__ == "__main__":
    main()
