"""A table at a glance."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TypedDict

import numpy as np

from lut.calibration import Calibration
from lut.errors import TableError
from lut.model import LatencyModel
from lut.table import LatencyTable
from search_spaces import SearchSpace


def describe_table(table: LatencyTable, space: SearchSpace | None = None) -> dict[str, object]:
    """Return what a table says as plain values, for JSON; with the space, its fastest and slowest network too."""
    provenance = table.provenance
    return {
        "space": table.space.as_dict(),
        "device": dict(provenance.device),
        "worker": dict(provenance.worker),
        "precision": provenance.precision,
        "date": provenance.date,
        "rounds": provenance.rounds,
        "throttled_rounds": provenance.throttled_rounds,
        "is_emulated": provenance.is_emulated,
        "fallbacks": {key: dict(operations) for key, operations in provenance.fallbacks.items()},
        "num_entries": len(table.entries) + len(table.reported),
        "energy": describe_energy(table),
        "num_failed": len(table.failures),
        "median_spread": median_spread(table),
        "stopped_by": provenance.stopped_by,
        "num_groups": provenance.num_groups,
        "seed": provenance.seed,
        "slowdown": {
            **asdict(table.slowdown),
            "by": table.slowdown.by,
            "is_believed": table.slowdown.is_believed,
            "sentence": table.slowdown.sentence(),
        },
        "pace": None if table.pace is None else asdict(table.pace),
        "repeatability": repeatability(table),
        "unsettled": table.unsettled,
        "num_networks": len(table.networks),
        "extremes": None if space is None else extreme_networks(table, space),
        "offset_ms": table.offset_ms,
        "calibration": None if table.calibration is None else _calibration(table.calibration),
        "certificate": None if table.certificate is None else asdict(table.certificate),
        "reported": {r.key: {"latency_ms": r.mean_ms, "std_ms": r.std_ms, "count": r.count} for r in table.reported},
        "entries": {
            m.key: {"error": m.error}
            if m.error is not None
            else {"latency_ms": table.latency_ms[m.key], "spread": m.spread, "num_samples": m.num_samples}
            for m in table.entries
        },
    }


def median_spread(table: LatencyTable) -> float | None:
    """Return the median spread of the samples of a block; None where none was measured."""
    spreads = [m.spread for m in table.entries if m.error is None]
    return float(np.median(spreads)) if spreads else None


def repeatability(table: LatencyTable) -> float | None:
    """Return by what share odd restarts differ from even ones; None where that is not known."""
    return float(np.mean(list(table.split_half_errors.values()))) if table.split_half_errors else None


def describe_fallbacks(table: LatencyTable) -> str:
    """Return how many operations the device's accelerator left to the CPU, of which kinds and in how many blocks."""
    counts: Counter[str] = Counter()
    for operations in table.provenance.fallbacks.values():
        counts.update(operations)
    kinds = ", ".join(f"{name} ({num})" for name, num in counts.most_common())
    return f"left to the CPU: {counts.total()} operations in {len(table.provenance.fallbacks)} blocks: {kinds}"


def describe_energy(table: LatencyTable) -> str:
    """Return whose energy is in a table, in words."""
    return f"of {len(table.energy_mj)} blocks" if table.energy_mj else "the device has no counter to read"


class ExtremeNetwork(TypedDict):
    """The fastest or the slowest network of a space."""

    architecture: list[int]
    predicted_ms: float


def extreme_networks(table: LatencyTable, space: SearchSpace) -> dict[str, ExtremeNetwork] | None:
    """Return the fastest and the slowest network of the space by prediction; None where blocks do not fit."""
    try:
        model = LatencyModel(space, table)
    except TableError:
        return None
    found = {"fastest": model.extreme(), "slowest": model.extreme(slowest=True)}
    return {name: ExtremeNetwork(architecture=list(a), predicted_ms=ms) for name, (a, ms) in found.items()}


def _calibration(calibration: Calibration) -> dict[str, object]:
    fields = asdict(calibration)
    factors, constants_ms = (np.array(list(fields.pop(name).values())) for name in ("factors", "constants_ms"))
    return {
        **fields,
        "median_factor": float(np.median(factors)),
        "median_constant_ms": float(np.median(constants_ms)) - calibration.call_ms,
    }
