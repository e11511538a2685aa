"""The facts that a run's folder tells, as far as the run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.deployment_file import read_deployment
from hwnas.errors import RequestError, RunError
from hwnas.front import load_front, load_history
from hwnas.kept_table import kept_table
from hwnas.run import Run
from hwnas.search import Evaluation
from hwnas.summary_file import read_summary
from hwnas.training.trainer import EpochRecord, epochs_of
from lut import LatencyTable, TableError
from lut.model import predict_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The facts that a run's folder tells; parts that do not exist yet are None or empty.

    Attributes:
        deployment: what the last bundle's deployment.json says.
        curves: epochs by training.
        networks: measured and predicted milliseconds of the table's networks, by role.
        block_ms: [num_decisions][num_choices] what each choice's block takes alone; empty where choices are no blocks.
    """

    run: Run
    summary: dict[str, Any] | None
    deployment: dict[str, Any] | None
    history: list[Evaluation]
    front: list[Evaluation]
    table: LatencyTable | None
    curves: dict[str, list[EpochRecord]]
    networks: dict[str, list[tuple[float, float]]]
    block_ms: list[list[float | None]]


def gather(run: Run) -> Facts:
    """Read what there is.

    Raises:
        RunError: what a finished run wrote is damaged.
    """
    try:
        history, front = load_history(run), load_front(run)
    except RequestError:
        history, front = [], []
    table = _table(run)
    return Facts(
        run=run,
        summary=read_summary(run),
        deployment=read_deployment(run.folder),
        history=history,
        front=front,
        table=table,
        curves=_curves(run.folder),
        networks={} if table is None else _networks(run, table),
        block_ms=[] if table is None else _block_ms(run, table),
    )


def missed_budgets(summary: Mapping[str, Any]) -> list[str]:
    """Return what to do about each winner of a run's summary that does not keep its budget."""
    winners = [summary, *summary["winners"].values()]
    return [row["advice"] for row in winners if row.get("advice")]


def _table(run: Run) -> LatencyTable | None:
    try:
        return kept_table(run)
    except (TableError, RequestError):
        return None


def _curves(folder: Path) -> dict[str, list[EpochRecord]]:
    paths = [folder / "supernet" / "checkpoint.safetensors", *sorted((folder / "retrain").glob("*.safetensors"))]
    found = {}
    for path in paths:
        if path.exists():
            try:
                found["supernet" if path.stem == "checkpoint" else f"retrain {path.stem}"] = epochs_of(path)
            except RunError:
                continue
    return found


def _networks(run: Run, table: LatencyTable) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for role in ("held_out", "calibration"):
        networks = [n for n in table.networks if n.role == role and n.measurement.error is None]
        if networks:
            predicted = predict_ms(table, run.space, np.array([n.architecture for n in networks])).tolist()
            measured = [table.estimates_ms[n.measurement.key] for n in networks]
            found[role] = list(zip(measured, predicted, strict=True))
    return found


def _block_ms(run: Run, table: LatencyTable) -> list[list[float | None]]:
    space = run.space
    if not all(len(segment.decisions) == len(segment.slots) == 1 for segment in space.segments):
        return []
    rows = []
    for segment in space.segments:
        position, slot = segment.decisions[0], segment.slots[0]
        choices = np.zeros((len(space.decisions[position].choices), len(space.decisions)), dtype=np.int64)
        choices[:, position] = np.arange(len(choices))
        blocks = [space.candidates[i] for i in space.block_indices(choices)[:, slot]]
        rows.append([0.0 if b.is_identity else table.latency_ms.get(b.key) for b in blocks])
    return rows
