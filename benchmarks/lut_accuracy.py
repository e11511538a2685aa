"""How far a table's predictions are off, by whole networks measured in the same interleaved rounds.

Builds a table per seed and prints the plain sum of blocks and the calibrated prediction against the measured networks,
and where the time went. 40 % of the networks calibrate, the others are held out.

    python benchmarks/lut_accuracy.py --space fbnet-s --input-size 224 --networks 100 --seeds 3
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from hwnas.profiling import onnx_cache
from hwnas.trust import describe_certificate
from lut import LatencyTable, build_table, plan_table
from lut.build import block_counts
from lut.networks import DUPLICATE
from profilers import Profiler
from profilers.device import adjusted, find_device
from search_spaces import SearchSpace, SpaceSpec, make_space


def main() -> None:
    """Build the tables and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="fbnet-s")
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder that keeps the tables")
    options = parser.parse_args()

    classes = 1000 if options.input_size > 64 else 10
    space = make_space(SpaceSpec(name=options.space, input_size=options.input_size, num_classes=classes))
    device = adjusted(find_device(options.device), threads=options.threads)
    for seed in range(options.seeds):
        started, clock = time.monotonic(), PhaseClock()
        plan = plan_table(
            space, rounds=options.rounds, num_networks=options.networks, precision=options.precision, seed=seed
        )
        profiler = Profiler(device=device, rounds=options.rounds, seed=seed, on_progress=clock.tick)
        with tempfile.TemporaryDirectory() as folder:
            table = build_table(
                space,
                (options.keep or Path(folder)) / f"{options.space}-{options.input_size}-{plan.precision}-{seed}.json",
                plan,
                profiler=profiler,
                onnx_folder=onnx_cache(),
                on_export=lambda done, total, clock=clock: clock.tick("export", done, total),
            )
        print(f"{space.spec} on {device.name}, {device.threads} threads, {plan.precision}, seed {seed}")
        total_s = time.monotonic() - started
        print(f"  {len(plan.blocks)} blocks, {len(plan.networks)} networks, {table.provenance.rounds} rounds; {clock}")
        print(
            f"  built in {total_s:.1f} s, {total_s - 1.5 * clock.seconds['round']:.1f} s more than 1.5 times the rounds"
        )
        print(f"  sum of blocks: {errors_of_sums(table, space)}")
        print(f"  {describe_certificate(table)}")


def errors_of_sums(table: LatencyTable, space: SearchSpace) -> str:
    """Errors of the plain sums of blocks on all networks."""
    networks = [n for n in table.networks if n.role != DUPLICATE]
    measured = np.array([table.estimates_ms[n.measurement.key] for n in networks])
    counts = [block_counts(space, n.architecture) for n in networks]
    sums = np.array([sum(num * table.latency_ms[key] for key, num in count.items()) for count in counts])
    errors = sums / measured - 1
    tau = kendalltau(sums, measured).statistic
    return (
        f"{len(networks)} networks of {measured.min():.3f} to {measured.max():.3f} ms, tau {tau:.3f}, "
        f"MAPE {np.abs(errors).mean():.2%}, bias {errors.mean():+.2%}"
    )


class PhaseClock:
    """Seconds between the first and the last sign of each phase."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def tick(self, phase: str, _done: int, _total: int) -> None:
        """The time since the last sign went into this phase."""
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def __str__(self) -> str:
        return ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in self.seconds.items())


if __name__ == "__main__":
    main()
