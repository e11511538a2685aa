"""A table at a glance."""

from __future__ import annotations

from typing import Any

import numpy as np

from lut.table import LatencyTable


def describe_table(table: LatencyTable) -> dict[str, Any]:
    """Entries, spread and provenance as plain values."""
    spreads = [m.spread for m in table.entries if m.error is None]
    provenance = table.provenance
    return {
        "space": table.space.as_dict(),
        "device": dict(provenance.device),
        "worker": dict(provenance.worker),
        "precision": provenance.precision,
        "date": provenance.date,
        "rounds": provenance.rounds,
        "is_emulated": provenance.is_emulated,
        "num_entries": len(table.entries),
        "num_failed": len(table.failures),
        "median_spread": float(np.median(spreads)) if spreads else None,
        "repeatability": table.repeatability,
        "entries": {
            m.key: {"error": m.error}
            if m.error is not None
            else {"latency_ms": table.latency_ms[m.key], "spread": m.spread, "num_samples": m.num_samples}
            for m in table.entries
        },
    }
