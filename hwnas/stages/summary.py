"""The summary of what a run came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from math import isinf

from hwnas.artifacts import (
    REFERENCES,
    WINNER,
    DeviceSummary,
    Exported,
    ExportedNetwork,
    FoundNetwork,
    NetworkSummary,
    RetrainedNetwork,
    Summary,
)
from hwnas.dataflow import Dataset
from hwnas.measured import Measured
from hwnas.quantities import MEDIAN
from hwnas.run_folder import ExportFiles
from hwnas.stages.setup import Setup
from hwnas.training.trainer import EpochRecord
from search_spaces import SearchSpace


def summarise(
    setup: Setup,
    dataset: Dataset,
    found: Mapping[str, FoundNetwork],
    retrained: Mapping[str, RetrainedNetwork],
    exported: Exported,
    *,
    advice: Mapping[str, str],
    files: ExportFiles,
) -> Summary:
    """Return the figures of the winner, of its references, and of the winners of further budgets.

    Args:
        advice: on winners that missed their budgets, by name.
        files: where the models are.
    """
    rows = {
        name: figures(
            setup.space,
            found[name],
            network.test_metrics,
            exported.networks.get(name),
            float_ms=exported.networks[name].float_ms if name in exported.networks else None,
            epoch=network.epoch,
            advice=advice.get(name),
            percentile=setup.percentile,
        )
        for name, network in retrained.items()
    }
    mean, std = dataset.channel_statistics()
    return Summary(
        **{field.name: getattr(rows[WINNER], field.name) for field in fields(NetworkSummary)},
        parity=exported.parity[files.label(files.model(WINNER))],
        device=setup.device.name,
        space=setup.space.spec.as_dict(),
        classes=tuple(dataset.classes),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        seed=setup.seed,
        references={name: rows[name] for name in REFERENCES if name in rows},
        winners={name: row for name, row in rows.items() if name.startswith(f"{WINNER}-")},
    )


def figures(
    space: SearchSpace,
    found: FoundNetwork,
    test_metrics: Mapping[str, float],
    measured: Measured | None,
    *,
    float_ms: float | None = None,
    epoch: EpochRecord | None,
    advice: str | None = None,
    percentile: int = MEDIAN,
) -> NetworkSummary:
    """Return a trained network's figures.

    Args:
        measured: None where nothing is, as on the device of an imported table.
        epoch: whose weights the network has; None where it was not trained.
        float_ms: what it takes in float, where it is measured in int8.
        percentile: that latencies are.
    """
    size = space.input_size(found.architecture)
    return NetworkSummary(
        architecture=found.architecture,
        input_size=None if size == space.spec.input_size else size,
        choices=tuple(space.describe(found.architecture)),
        params=found.params,
        macs=found.macs,
        supernet_score=found.supernet_score,
        epoch=None if epoch is None else epoch.epoch + 1,
        validation_score=None if epoch is None else epoch.score,
        test_accuracy=next(iter(test_metrics.values())),
        test_metrics=dict(test_metrics),
        predicted_ms=found.predicted_ms,
        measured_ms=None if measured is None else measured.latency_ms,
        measured_table_ms=None if measured is None else measured.table_ms,
        repeatability=None if measured is None else measured.repeatability,
        drift=None if measured is None else measured.drift,
        p50_ms=None if measured is None else measured.p50_ms,
        p95_ms=None if measured is None else measured.p95_ms,
        p99_ms=None if measured is None else measured.p99_ms,
        percentile=percentile,
        float_ms=float_ms,
        budget_kept=_is_kept(found, measured),
        max_latency_ms=None if isinf(found.max_ms) else found.max_ms,
        advice=advice,
        fleet=_elsewhere(found, measured),
    )


def _elsewhere(found: FoundNetwork, measured: Measured | None) -> dict[str, DeviceSummary]:
    """Return a network's figures on further devices: as exported where it was measured so, else as a finalist."""
    exported = measured.fleet if isinstance(measured, ExportedNetwork) else {}
    return {
        name: DeviceSummary.of(replace(latency, measured=exported.get(name, latency.measured)))
        for name, latency in found.fleet.items()
    }


def _is_kept(found: FoundNetwork, measured: Measured | None) -> bool | None:
    if measured is not None:
        return measured.latency_ms <= found.max_ms
    return None if found.predicted_ms <= found.max_ms else False
