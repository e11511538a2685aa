"""A table for another device or setting, from an existing one and a few measured networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lut.build import TablePlan, finished, journal_beside, measure_plan
from lut.errors import TableError
from lut.model import predict_ms
from lut.provenance import ADAPTED
from lut.table import LatencyTable, ReportedLatency, save_table
from profilers import Profiler
from search_spaces import SearchSpace

GOOD_MAPE = 0.03
"""An adapted table with a larger error is worth replacing by a full profile."""

POOR_FLOOR = 0.05
"""Measurements that repeat no better than this say nothing about the base table."""


def adapt_table(
    base: LatencyTable,
    space: SearchSpace,
    path: Path,
    plan: TablePlan,
    *,
    profiler: Profiler,
    onnx_folder: Path,
) -> LatencyTable:
    """Measure whole networks only, and correct the base table's blocks to them; write the table.

    The blocks' latencies are the base's, times what the networks take more than the base predicts for them; the
    correction of families and other properties of blocks is learnt from the calibration networks as always, shrunk
    towards that. The certificate is the new table's own.

    Args:
        plan: made for the space; its blocks are not measured.
        profiler: on the new device, with its settings.

    Raises:
        TableError: the base lacks a block of the space or has others, no network could be measured, or the table
            cannot be written.
        MeasurementError: the device cannot be measured.
    """
    base.require_blocks_of(space, name="the base table")
    keys = {b.key for b in space.candidates if not b.is_identity}
    if missing := sorted(keys - base.latency_ms.keys()):
        raise TableError(f"the base table lacks {missing[0]} ({len(missing)} of {len(keys)} blocks); profile it whole")
    measured = measure_plan(space, path, replace(plan, blocks=()), profiler=profiler, onnx_folder=onnx_folder)
    usable = [n for n in measured.networks if n.measurement.error is None and n.role == "calibration"]
    if not usable:
        raise TableError("not one network for calibration could be measured; see the errors with hwnas lut show")
    expected = predict_ms(base, space, np.array([n.architecture for n in usable]))
    scale = float(np.median([measured.estimates_ms[n.measurement.key] for n in usable] / expected))
    adapted = finished(
        replace(
            measured,
            reported=tuple(ReportedLatency(key=k, mean_ms=max(1e-9, scale * base.block_ms(k))) for k in sorted(keys)),
            layouts=base.layouts,
            provenance=replace(
                measured.provenance,
                stopped_by=ADAPTED,
                worker={**measured.provenance.worker, "adapted_from": origin_of_base(base), "adapted_scale": scale},
            ),
        ),
        space,
    )
    save_table(adapted, path)
    journal_beside(path).unlink()
    return adapted


def advice(table: LatencyTable) -> str:
    """Return whether profiling every block on the new device is worth the time."""
    certificate, calibration = table.certificate, table.calibration
    if certificate is None or calibration is None:
        return "too few networks were measured to tell how good this is: give more networks, or make a full profile"
    floor = max(certificate.repeatability_mape, certificate.duplicates_mape or 0.0)
    if floor > POOR_FLOOR:
        return (
            f"the same networks differ by {floor:.1%} from one measurement to the next: adapt again when nothing else "
            "runs, or make a full profile then"
        )
    factor = float(np.median(list(calibration.factors.values())))
    if factor <= 0:
        return (
            f"blocks count with a factor of {factor:.3f}, as if slower ones made networks faster: the base table says "
            "nothing about this device; make a full profile of it"
        )
    limit = max(GOOD_MAPE, 2 * floor)
    if certificate.mape > limit:
        return f"the mean error of {certificate.mape:.1%} is above {limit:.1%}: a full profile is worth its time"
    return f"the mean error of {certificate.mape:.1%} leaves a full profile little to gain"


def origin_of_base(base: LatencyTable) -> str:
    device = base.provenance.device
    return f"{device['name']}, {device['threads']} threads, {base.provenance.precision}, {base.provenance.date}"
