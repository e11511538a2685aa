"""The facts that a run's folder tells, as far as the run is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.artifacts import Deployment, NetworkSummary, RunTimes, ShownPredictions, Summary
from hwnas.report.along import PartLatency, SlicedLayer
from hwnas.search import Evaluation
from hwnas.training.trainer import EpochRecord
from lut import LatencyTable
from lut.model import predict_ms
from search_spaces import SearchSpace


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """The space, the device and the data that a run is about.

    Attributes:
        device: its name.
        data: the name of the data set.
        num_evaluations: architectures that the search is to evaluate.
        num_epochs, num_retrain_epochs: of the supernet, and of each network on its own.
        percentile: that latencies are, of single runs.
        settings: everything else that people ask for, by name; `budget` and `seed` among them.
    """

    space: SearchSpace
    device: str
    data: str
    task: str
    num_evaluations: int
    num_epochs: int
    num_retrain_epochs: int
    percentile: int
    settings: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """A model of a run.

    Attributes:
        path: from the run's folder on.
        network: whose model it is.
        batch: images that it takes at a time, in words.
    """

    path: str
    network: str
    size_bytes: int
    batch: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Facts:
    """The facts that a run's folder tells; parts that do not exist yet are None or empty.

    Attributes:
        times: when the run began and ended; None of one that only earlier versions worked on.
        further: the figures of networks that were trained after the run's own, by name.
        deployments: what the deployment.json of each network's last bundle says.
        models: of the networks that were exported.
        curves: epochs by training.
        networks: measured and predicted milliseconds of the table's networks, by role.
        layers, parts: of a network that somebody brought, beside the winner; none of other spaces.
        predictions: what the winner says of test images; None in runs of earlier versions, too.
        block_ms: [num_decisions][num_choices] what each choice's block takes alone; empty where choices are no blocks.
    """

    subject: Subject
    times: RunTimes | None
    summary: Summary | None
    further: dict[str, NetworkSummary]
    deployments: list[Deployment]
    models: list[ModelFile]
    history: list[Evaluation]
    front: list[Evaluation]
    table: LatencyTable | None
    curves: dict[str, list[EpochRecord]]
    networks: dict[str, list[tuple[float, float]]]
    layers: list[SlicedLayer]
    parts: list[PartLatency]
    predictions: ShownPredictions | None
    block_ms: list[list[float | None]]


def network_latencies(table: LatencyTable, space: SearchSpace) -> dict[str, list[tuple[float, float]]]:
    """Return measured and predicted milliseconds of a table's networks, by role."""
    found: dict[str, list[tuple[float, float]]] = {}
    for role in ("held_out", "calibration"):
        networks = [n for n in table.networks if n.role == role and n.measurement.error is None]
        if networks:
            predicted = predict_ms(table, space, np.array([n.architecture for n in networks])).tolist()
            measured = [table.estimates_ms[n.measurement.key] for n in networks]
            found[role] = list(zip(measured, predicted, strict=True))
    return found


def block_latencies(table: LatencyTable, space: SearchSpace) -> list[list[float | None]]:
    """Return what each choice's block takes alone, [num_decisions][num_choices]; [] where choices are no blocks."""
    are_blocks = all(len(segment.decisions) == len(segment.slots) == 1 for segment in space.segments)
    if space.common_decisions or not are_blocks:
        return []
    rows = []
    for segment in space.segments:
        position, slot = segment.decisions[0], segment.slots[0]
        choices = np.zeros((len(space.decisions[position].choices), len(space.decisions)), dtype=np.int64)
        choices[:, position] = np.arange(len(choices))
        blocks = [space.candidates[i] for i in space.block_indices(choices)[:, slot]]
        rows.append([0.0 if b.is_identity else table.latency_ms.get(b.key) for b in blocks])
    return rows
