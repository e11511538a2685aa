"""What a latency table is, in lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lut import LatencyTable
    from search_spaces import SearchSpace


def print_table_summary(table: LatencyTable, path: Path, space: SearchSpace | None) -> None:
    """Print what a table is, and how fast the networks of its space are where the space is given."""
    from hwnas.quantities import format_ms
    from hwnas.trust import contradictions, describe_certificate, describe_tail
    from lut.machine import describe_machine
    from lut.overview import describe_energy, describe_fallbacks, extreme_networks
    from lut.tails import tails_of

    made = table.provenance
    worker, device, num = made.worker, made.device, len(table.entries) + len(table.reported)
    print(f"{path}: {num} blocks of {table.space}, {len(table.failures)} failed")
    if table.is_imported:
        print(f"  from {worker['source']}, published for {device['name']}; imported {made.date}")
    else:
        print(
            f"  on {device['name']} ({worker.get('cpu_model')}, {device['threads']} threads, batch {device['batch']}, "
            f"cores {worker.get('cores')}, governor {worker.get('governor') or 'unknown'})"
        )
        version = worker.get(device["runtime"], "")
        variant = "".join(f", {device[name]}" for name in ("provider", "target", "arithmetic") if name in device)
        print(
            f"  {device['runtime']}{version and f' {version}'}{variant}, {made.precision}, {made.rounds} rounds "
            f"(ended by {made.stopped_by}), {made.date}"
        )
    if table.is_adapted:
        by = f" by {worker['adapted_by']}" if "adapted_by" in worker else ""
        print(f"  adapted{by} from {worker['adapted_from']}, times {worker['adapted_scale']:.3f}")
    print(f"  energy: {describe_energy(table)}")
    if made.is_emulated:
        print("  made under an emulator: its numbers are no latencies of a device")
    if made.fallbacks:
        print(f"  {describe_fallbacks(table)}")
    for line in _disturbances(table):
        print(f"  {line}")
    for key, error in table.unsettled.items():
        print(f"  not settled: {key}, odd and even restarts differ by {error:.1%}")
    if space is not None and (missing := table.missing(space)):
        print(f"  lacks {len(missing)} blocks of its space, such as {missing[0]}: no network can be predicted by it")
    if space is not None and (foreign := table.foreign(space)):
        print(f"  holds {len(foreign)} blocks that its space no longer has, such as {foreign[0]}: profile it again")
    if space is not None:
        for sentence in describe_machine(table, space):
            print(f"  {sentence}")
    if space is not None and (extremes := extreme_networks(table, space)) is not None:
        fastest, slowest = (format_ms(extremes[name]["predicted_ms"]) for name in ("fastest", "slowest"))
        print(f"  networks of this space are predicted to take {fastest} (the fastest) to {slowest} (the slowest)")
    print(f"  {describe_certificate(table)}")
    for tail in [] if space is None else tails_of(table, space).values():
        print(f"  {describe_tail(tail)}")
    for line in [] if space is None else contradictions(table, space):
        print(f"  warning: {line}")


def _disturbances(table: LatencyTable) -> Iterator[str]:
    """Yield what the samples tell of how disturbed the machine was."""
    from lut.overview import median_spread, repeatability

    spread, difference = median_spread(table), repeatability(table)
    if difference is not None:
        spread_text = "" if spread is None else f"median spread of the samples {spread:.1%}, "
        yield f"{spread_text}odd against even restarts {difference:.2%}"
    if table.provenance.throttled_rounds:
        yield f"{table.provenance.throttled_rounds} rounds were repeated, since the device was throttled during them"
    slowdown = table.slowdown
    if slowdown.spread is None:
        return
    # Where it was slowed too much, the line on the certificate says so.
    parts = [*([slowdown.sentence()] if slowdown.is_believed else []), f"common slow-downs of {slowdown.spread:.1%}"]
    if slowdown.preempted is not None:
        parts.append(f"the core was lost in {slowdown.preempted:.1%} of the samples")
    yield "; ".join(parts)
