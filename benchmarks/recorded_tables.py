"""How well the installed version predicts from tables that were recorded before, on whatever machine.

Calibrates and certifies every table of a folder anew from its samples, measuring nothing, and prints a line for each:
errors on the held-out networks, and the floor, the larger of what odd and even restarts and what duplicates differ by.
With a percentile: how that follows from medians, its errors, and those that one factor of the median for all has.

    python benchmarks/recorded_tables.py tables/
    python benchmarks/recorded_tables.py tables/ --percentile 95
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from hwnas.trust import describe_tail
from lut import load_table
from lut.build import finished
from lut.certificate import Certificate
from lut.model import predict_ms
from lut.tails import tail_of
from profilers.tails import tail_ms
from search_spaces import make_space


def main() -> None:
    """Refit the tables and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--percentile", type=int, choices=(95, 99), help="print figures of a tail instead")
    options = parser.parse_args()
    paths = sorted(options.folder.glob("**/*.json"))
    if not paths:
        parser.error(f"expected latency tables (*.json) in {options.folder}, found none")
    if options.percentile:
        for path in paths:
            print(f"{path.relative_to(options.folder)}: {tail_figures(path, options.percentile)}")
        return
    found = {str(path.relative_to(options.folder)): refitted(path) for path in paths}
    rows = {name: figures(certificate) for name, certificate in found.items() if certificate is not None}
    if options.json:
        print(json.dumps({name: rows.get(name) for name in found}, indent=1))
        return
    width = max(map(len, found))
    print(f"{'table':{width}}  error   bias  <5 %  <10 %   tau  floor  error/floor")
    for name in found:
        print(line(name, rows.get(name), width))
    if rows:
        worst = max(rows, key=lambda name: rows[name]["mean_error"])
        print(f"worst: {worst}, {rows[worst]['mean_error']:.1%} mean error")


def refitted(path: Path) -> Certificate | None:
    """Return the table's certificate by the installed version; None where it has too few networks."""
    table = load_table(path)
    return finished(table, make_space(table.space)).certificate


def tail_figures(path: Path, percentile: int) -> str:
    """Return what a table's samples tell of a tail percentile, in a line."""
    table = load_table(path)
    space = make_space(table.space)
    table = finished(table, space)
    tail = tail_of(table, space, percentile)
    if tail is None:
        return "too little was measured to tell"
    networks = {role: [n for n in table.networks if n.role == role] for role in ("calibration", "held_out")}
    medians_ms = {n.measurement.key: table.estimates_ms[n.measurement.key] for n in table.networks}
    ratios = [np.array(n.measurement.wall_ns) / 1e6 / medians_ms[n.measurement.key] for n in networks["calibration"]]
    factor = np.percentile(np.concatenate(ratios), percentile)
    predicted = predict_ms(table, space, np.array([n.architecture for n in networks["held_out"]]))
    measured = np.array([tail_ms(n.measurement, percentile) for n in networks["held_out"]])
    return f"{describe_tail(tail)}; one factor {np.abs(factor * predicted / measured - 1).mean():.1%}"


def figures(certificate: Certificate) -> dict[str, float]:
    """Return what is printed of a certificate."""
    return {
        "mean_error": certificate.mape,
        "bias": certificate.bias,
        "within_5pct": certificate.within_5pct,
        "within_10pct": certificate.within_10pct,
        "kendall_tau": certificate.kendall_tau,
        "floor": max(certificate.repeatability_mape, certificate.duplicates_mape or 0.0),
        "num_networks": certificate.num_networks,
    }


def line(name: str, row: dict[str, float] | None, width: int) -> str:
    """Return a table's figures in a line."""
    if row is None:
        return f"{name:{width}}  too few networks to certify with"
    return (
        f"{name:{width}}  {row['mean_error']:5.1%}  {row['bias']:+5.1%}  {row['within_5pct']:4.0%}   "
        f"{row['within_10pct']:4.0%}  {row['kendall_tau']:.2f}  {row['floor']:5.1%}  "
        f"{row['mean_error'] / row['floor']:5.2f}"
    )


if __name__ == "__main__":
    main()
