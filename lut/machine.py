"""The machine that a calibrated table tells of, in words."""

from __future__ import annotations

import numpy as np

from lut.calibration import Calibration
from lut.table import LatencyTable
from search_spaces import SearchSpace

LEAVING = 0.1
"""A network that has lost this share of itself has begun to leave the cache."""

NOTICEABLE = 0.01
"""Share of a network's latency below which what the cache loses is not worth a word."""


def describe_machine(table: LatencyTable, space: SearchSpace) -> list[str]:
    """Return sentences on what blocks cost in networks on the table's device; none for tables without calibration."""
    if table.calibration is None:
        return []
    return [_of_blocks(table, table.calibration), _of_cache(table, table.calibration, space)]


def _of_blocks(table: LatencyTable, calibration: Calibration) -> str:
    low, high = np.quantile(list(calibration.factors.values()), (0.1, 0.9))
    conversions = f", a layout conversion {1e3 * calibration.conversion_ms:.1f} us" if table.layouts else ""
    return (
        f"a block takes {low:.2f} to {high:.2f} times as long in a network as alone, less a call of "
        f"{1e3 * calibration.call_ms:.1f} us; a network takes {1e3 * calibration.offset_ms:+.1f} us besides its blocks"
        f"{conversions}"
    )


def _of_cache(table: LatencyTable, calibration: Calibration, space: SearchSpace) -> str:
    cache = calibration.cache
    networks = [n for n in table.networks if n.measurement.error is None]
    sizes_mb, shares = [], []
    for network in networks:
        sizes = [table.block_size(b) for b in space.blocks(network.architecture) if not b.is_identity]
        sizes_mb.append(sum(size.total_mb for size in sizes))
        lost_ms = float(cache.lost(sizes_mb[-1])) * sum(map(cache.block_ms, sizes))
        shares.append(abs(lost_ms) / table.estimates_ms[network.measurement.key])
    if max(shares) < NOTICEABLE:
        return f"networks of up to {max(sizes_mb):.3g} MB of weights and activations cost nothing for their size"
    leaving_mb = cache.half_mb * (LEAVING / (1 - LEAVING)) ** (1 / cache.sharpness)
    return (
        f"networks of more than {leaving_mb:.2g} MB leave the cache, half of one of {cache.half_mb:.2g} MB is lost: "
        f"each MB of weights that is costs {cache.weight_ms:.2g} ms, of activations {cache.activation_ms:.2g} ms, and "
        f"each block {1e3 * cache.call_ms:.1f} us; up to {max(shares):.0%} of the latency of the networks measured"
    )
