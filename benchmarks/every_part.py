"""A whole search on digits with every search space, and with every training strategy, down to a verified ONNX model.

Settings are tiny: this shows that every part works and what it costs, not how good it is.

    python benchmarks/every_part.py --out /tmp/parts
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from hwnas.training import STRATEGIES
from search_spaces import SPACES

SPACE_FLAGS = {"mobilefacenet": ("--input-size", "16"), "nasbench201": ("--input-size", "16")}
ELASTIC = ("autoformer", "ofa-mobilenetv3", "sgnas")
STRATEGY_SPACES = {"progressive": "ofa-mobilenetv3"}


def main() -> None:
    """Run one after the other and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--retrain-epochs", type=int, default=15)
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--budget", default="70%")
    parser.add_argument("--only", help="names, separated by commas")
    options = parser.parse_args()
    jobs = [(name, name, "sandwich" if name in ELASTIC else "uniform") for name in sorted(SPACES)]
    jobs += [(name, STRATEGY_SPACES.get(name, "nasbench-macro"), name) for name in sorted(STRATEGIES)]
    print("| run | space | strategy | test accuracy | measured ms | budget ms | parity | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, space, strategy in jobs:
        if options.only and name not in options.only.split(","):
            continue
        started = time.monotonic()
        agent = "differentiable" if strategy in ("softmax", "gumbel", "binarised") else "predictor"
        command = [
            *(sys.executable, "-m", "hwnas", "search", "--json", "--quiet", "--accept-table"),
            *("--data", "digits", "--space", space, "--strategy", strategy, "--agent", agent),
            *("--width", "0.25", "--max-latency", options.budget, "--epochs", str(options.epochs)),
            *("--evaluations", str(options.evaluations), "--retrain-epochs", str(options.retrain_epochs)),
            *("--out", str(options.out / name), *SPACE_FLAGS.get(space, ())),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        if done.returncode:
            print(f"| {name} | {space} | {strategy} | failed: {done.stderr.strip().splitlines()[-1]} |", flush=True)
            continue
        found = json.loads(done.stdout)
        print(
            f"| {name} | {space} | {strategy} | {found['test_accuracy']:.1%} | {found['measured_ms']:.4g} | "
            f"{found['max_latency_ms']:.4g} | {found['parity']['max_abs_difference']:.0e} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
