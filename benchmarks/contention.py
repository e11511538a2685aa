"""Certificates of tables made beside a process that takes about 30 % of the same core in bursts.

Prints the error on held-out networks made in quiet, beside the neighbour all the time, and beside one that comes in the
second half; and the naive way under the same load: every block in a hot loop of its own, its mean taken, summed.

    python benchmarks/contention.py --space nasbench-macro --input-size 32
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from hwnas.profiling import onnx_cache
from hwnas.trust import describe_certificate
from lut import LatencyTable, build_table, plan_table
from lut.build import TablePlan, block_counts
from lut.networks import DUPLICATE
from profilers import Device, Model, Profiler
from profilers.device import find_device
from search_spaces import SearchSpace, SpaceSpec, make_space
from search_spaces.onnx_export import export_block

NEIGHBOUR = """
import os, random, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
time.sleep(float(sys.argv[2]))
while True:
    burst = random.uniform(0.02, 0.4)
    end = time.monotonic() + burst
    while time.monotonic() < end: pass
    time.sleep(burst * 0.55 / 0.45)
"""
"""Busy 45 % of the time, on a core that it then has to share: about 30 % of the core while the worker wants it all."""


def main() -> None:
    """Build the tables and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="nasbench-macro")
    parser.add_argument("--input-size", type=int, default=32)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    classes = 1000 if options.input_size > 64 else 10
    space = make_space(SpaceSpec(name=options.space, input_size=options.input_size, num_classes=classes))
    core = max(os.sched_getaffinity(0))
    device = replace(find_device("cpu"), cores=(core,))
    plan = plan_table(space, rounds=options.rounds, num_networks=options.networks)

    quiet, seconds = timed_table(space, device, plan, options.rounds)
    print(f"quiet: {describe_certificate(quiet)}")
    assert quiet.certificate is not None
    for name, delay_s in (("all the time", 0.0), ("second half", 0.5 * seconds)):
        with neighbour(core, delay_s):
            table, _ = timed_table(space, device, plan, options.rounds)
        assert table.certificate is not None
        print(f"neighbour {name}: {describe_certificate(table)}")
        ratio = table.certificate.mape / quiet.certificate.mape
        print(f"  core lost in {table.slowdown.preempted or 0:.0%} of the samples; {ratio:.2f} times the quiet error")
    with neighbour(core, 0.0):
        print(f"naive, neighbour all the time: {naive_errors(space, device, plan, quiet)}")
    print(f"naive, quiet: {naive_errors(space, device, plan, quiet)}")


@contextlib.contextmanager
def neighbour(core: int, delay_s: float) -> Iterator[None]:
    """A busy process on the core while the block runs."""
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR, str(core), str(delay_s)])
    time.sleep(0.5)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def timed_table(space: SearchSpace, device: Device, plan: TablePlan, rounds: int) -> tuple[LatencyTable, float]:
    """A table, and the seconds it took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        table = build_table(
            space,
            Path(folder) / "table.json",
            plan,
            profiler=Profiler(device=device, rounds=rounds),
            onnx_folder=onnx_cache(),
        )
    return table, time.monotonic() - started


def naive_errors(space: SearchSpace, device: Device, plan: TablePlan, truth: LatencyTable) -> str:
    """Sums of sequentially measured blocks against the networks of the quiet table."""
    block_ms = {b.key: sequential_ms(device, [b.key], export_block(b, onnx_cache())) for b in plan.blocks}
    networks = [n for n in truth.networks if n.role != DUPLICATE]
    measured = np.array([truth.estimates_ms[n.measurement.key] for n in networks])
    sums = np.array(
        [sum(num * block_ms[k] for k, num in block_counts(space, n.architecture).items()) for n in networks]
    )
    errors = np.abs(sums / measured - 1)
    return f"{errors.mean():.1%} mean error, Kendall tau {kendalltau(sums, measured).statistic:.2f}"


def sequential_ms(device: Device, keys: Sequence[str], path: Path, runs: int = 50) -> float:
    """Mean of a model's runs in a loop of its own."""
    with tempfile.TemporaryDirectory() as folder:
        models = [Model(key=key, path=path) for key in keys]
        result = Profiler(device=device, rounds=runs).measure(models, Path(folder) / "journal")
    return float(np.mean(result.measurements[0].wall_ns)) / 1e6


if __name__ == "__main__":
    main()
