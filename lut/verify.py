"""A table's certificate again, on new networks, on the device as it is now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lut.certificate import Certificate, certify
from lut.errors import TableError
from lut.model import predict_ms
from lut.networks import DUPLICATE, draw_networks
from lut.precision import network_in_precision
from lut.references import choose_references
from lut.table import LatencyTable
from profilers import Model, Profiler
from profilers.estimate import estimate_ms, split_half_errors
from search_spaces import SearchSpace

NUM_BLOCKS = 12
"""Blocks measured again, to tell drift of the device from error of the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The outcome of verifying a table.

    Attributes:
        certificate: of the table's predictions as they are.
        drift: how much longer the same blocks take now than in the table, less 1; 0 for tables without measured blocks.
        without_drift: the certificate that predictions would have on a device as fast as it was then.
    """

    certificate: Certificate
    drift: float
    without_drift: Certificate


def verify_table(
    table: LatencyTable, space: SearchSpace, *, profiler: Profiler, num_networks: int, seed: int, onnx_folder: Path
) -> Verification:
    """Measure new random networks and a few blocks, and compare with what the table says.

    Args:
        profiler: on the table's device.
        seed: of the networks; they differ from those of the table whatever it is.
        onnx_folder: where exported models are kept.

    Raises:
        TableError: the table was measured on another device, or has a block that the space no longer has.
        MeasurementError: the device cannot be measured.
    """
    table.require_origin(space.spec, profiler.device)
    table.require_blocks_of(space)
    known = {n.architecture for n in table.networks}
    drawn = [p.architecture for p in draw_networks(space, num_networks + len(known), seed=seed) if p.role != DUPLICATE]
    fresh = [a for a in drawn if a not in known][:num_networks]
    if len(fresh) < 2:
        raise TableError(f"{space.spec.name} has no {num_networks} networks besides those of the table; ask for fewer")
    precision = table.provenance.precision
    batch, opset = profiler.device.batch, profiler.device.opset
    references = choose_references(table, space, onnx_folder, near_ms=1.0, num_blocks=NUM_BLOCKS, num_networks=0)
    models = list(references.models)
    names = {a: f"network({'-'.join(map(str, a))})" for a in fresh}
    models += [
        Model(key=n, path=network_in_precision(space, a, onnx_folder, precision, batch=batch, opset=opset))
        for a, n in names.items()
    ]
    with TemporaryDirectory() as scratch:
        measurements = profiler.measure(models, Path(scratch) / "verify.journal").measurements
    halves = split_half_errors(measurements)
    usable = [a for a, name in names.items() if name in halves]
    if len(usable) < 2:
        raise TableError(
            f"expected two networks measured twice at least, found {len(usable)} of {len(names)}; give more --rounds"
        )
    now_ms = estimate_ms(measurements)
    drift = (references.drift(now_ms) or 1.0) - 1
    predicted = predict_ms(table, space, np.array(usable))
    measured = [now_ms[names[a]] for a in usable]
    repeatability = float(np.mean([halves[names[a]] for a in usable]))
    return Verification(
        certificate=certify(predicted.tolist(), measured, repeatability_mape=repeatability),
        drift=drift,
        without_drift=certify((predicted * (1 + drift)).tolist(), measured, repeatability_mape=repeatability),
    )
