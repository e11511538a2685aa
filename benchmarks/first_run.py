"""The README's first command again and again beside neighbours: does every run end in a model that keeps its budget?

One neighbour keeps a core busy 45 % of the time in bursts, another streams through memory as often. They run all the
time, or with --after-table from when the run's latency table is there.

    python benchmarks/first_run.py --runs 10
    python benchmarks/first_run.py --runs 10 --after-table
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NEIGHBOURS = {
    "bursts": "while time.monotonic() < end: pass",
    "streams": "while time.monotonic() < end: copy[:] = memory",
}
"""What each does during a burst."""

LOOP = """
import os, random, sys, time
import numpy as np
os.sched_setaffinity(0, {{int(sys.argv[1])}})
memory, copy = np.zeros((2, 1 << 25), dtype=np.uint8)
while True:
    burst = random.uniform(0.02, 0.4)
    end = time.monotonic() + burst
    {work}
    time.sleep(burst * 0.55 / 0.45)
"""


def main() -> None:
    """Run the command and print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--after-table", action="store_true", help="neighbours come once the table is there")
    parser.add_argument("--without", action="store_true", help="no neighbours, to compare with")
    options = parser.parse_args()
    num_kept = 0
    for seed in range(options.first_seed, options.first_seed + options.runs):
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            summary = one_run(Path(folder) / "run", seed, after_table=options.after_table, alone=options.without)
            seconds = time.monotonic() - started
        if summary is not None:
            num_kept += summary["budget_kept"]
            print(
                f"seed {seed}: {summary['measured_ms']:.4g} ms measured, {summary['predicted_ms']:.4g} predicted, "
                f"budget {summary['max_latency_ms']:.4g}, kept {summary['budget_kept']}, "
                f"test accuracy {summary['test_accuracy']:.2%}, {seconds:.0f} s",
                flush=True,
            )
    print(f"{num_kept} of {options.runs} runs ended in a model that keeps its budget")


def one_run(folder: Path, seed: int, *, after_table: bool, alone: bool) -> dict[str, object] | None:
    """Return the summary of a run; None, and what it said, where it ended without a model."""
    command = [sys.executable, "-m", "hwnas", "search", "--data", "digits", "--max-latency", "60%", "--epochs", "30"]
    command += ["--retrain-epochs", "30", "--seed", str(seed), "--out", str(folder), "--json"]
    neighbours: list[subprocess.Popen[bytes]] = []
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while after_table and run.poll() is None and not (folder / "lut.json").exists():
            time.sleep(0.2)
        cores = sorted(os.sched_getaffinity(0))
        for number, work in enumerate(NEIGHBOURS.values() if not alone else ()):
            core = cores[-1 - number % len(cores)]
            neighbours.append(subprocess.Popen([sys.executable, "-c", LOOP.format(work=work), str(core)]))
        out, err = run.communicate()
    finally:
        run.kill()
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
    for line in err.splitlines():
        if any(word in line for word in ("warning", "machine is", "next finalist", "Measuring on", "error")):
            print(f"  {line}")
    if run.returncode:
        print(f"seed {seed}: exit code {run.returncode}: {err.splitlines()[-1:]}", flush=True)
        return None
    return dict(json.loads(out))


if __name__ == "__main__":
    main()
