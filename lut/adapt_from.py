"""A table for a new device from the tables of others and a few measured networks, which a model chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from lut.adapt import origin_of_base
from lut.build import TablePlan, block_counts, finished, journal_beside, measure_plan
from lut.calibration import MIN_NETWORKS
from lut.errors import TableError
from lut.few_shot import FewShotModel, KnownNetworks
from lut.model import LatencyModel
from lut.networks import NetworkPlan, draw_pool
from lut.provenance import ADAPTED
from lut.table import LatencyTable, ReportedLatency, block_keys, save_table
from onnx_models.precision import Precision
from profilers import Profiler
from search_spaces import Architecture, SearchSpace

NUM_DRAWN = 1500
"""Networks that are drawn to choose from; those that differ are known to the model."""

BLOCK_STD = 0.3
"""Prior standard deviation of a block's latency around what the known tables together say, relative to it."""

PREDICTION_STD = 0.02
"""How closely the blocks' sums are to follow the model's predictions."""

LEAST_MS = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A known device's table, and the name of its file for messages."""

    name: str
    table: LatencyTable


@dataclass(frozen=True, kw_only=True, slots=True)
class FewShotPlan:
    """The measurements to be made on the new device.

    Attributes:
        num_networks: networks that the model chooses and learns from.
        num_held_out: others, drawn evenly over the predicted latencies, that only certify; 0 for no certificate.
        precision: of the models.
        seed: of the networks that are chosen from, and of those held out.

    Raises:
        TableError: the networks are too few to calibrate or to certify with.
    """

    num_networks: int
    num_held_out: int
    precision: Precision
    seed: int

    def __post_init__(self) -> None:
        if self.num_networks < MIN_NETWORKS:
            raise TableError(f"{self.num_networks} networks are too few to learn from; give {MIN_NETWORKS} or more")
        if self.num_held_out == 1:
            raise TableError("one held-out network is too few to certify with; give 2 or more, or 0 for no certificate")


def adapt_from(
    sources: Sequence[Source],
    space: SearchSpace,
    path: Path,
    plan: FewShotPlan,
    *,
    profiler: Profiler,
    onnx_folder: Path,
) -> LatencyTable:
    """Measure a few networks, predict all others from the known tables, and write a table that says the same.

    The networks to learn from are those that tell most about all others by what the known tables say of them; they and
    those that are held out are measured in the same rounds. An interrupted call is continued by the next.

    The table's blocks are those whose sums are closest to the model's predictions for a thousand networks; calibration
    and certificate follow from the measured networks as for any other table.

    Raises:
        TableError: a table is there twice, is of another space or lacks blocks, the space has too few networks, too few
            of them could be measured, or the table cannot be written.
        MeasurementError: the device cannot be measured.
    """
    _require_distinct(sources)
    known = _KnownPool.drawn(sources, space, plan)
    model = FewShotModel(known.networks, seed=plan.seed)
    chosen = known.plan(model.choose(plan.num_networks, among=known.candidates), plan)
    table = measure_plan(space, path, chosen, profiler=profiler, onnx_folder=onnx_folder)
    learnt = known.measured(table)
    if len(learnt) < 2:
        raise TableError(
            f"expected two networks or more that can be measured, found {len(learnt)} of {plan.num_networks}: see why "
            "with hwnas devices check"
        )
    predicted_ms = model.predict_ms(list(learnt), list(learnt.values()))
    adapted = finished(_with_blocks(table, space, sources, known, predicted_ms, list(learnt)), space)
    save_table(adapted, path)
    journal_beside(path).unlink()
    return adapted


def _require_distinct(sources: Sequence[Source]) -> None:
    """Raise TableError for copies of one table, which would count as several devices."""
    for one, other in combinations(sources, 2):
        if one.table.estimates_ms == other.table.estimates_ms:
            raise TableError(
                f"expected tables that were measured separately, found the same latencies in {one.name} and "
                f"{other.name}: leave one of the two out"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _KnownPool:
    """Networks of a space, what the known tables predict for them, and the rows of those that may be measured."""

    architectures: tuple[Architecture, ...]
    networks: KnownNetworks
    candidates: NDArray[np.int64]
    held_out: tuple[int, ...]

    @classmethod
    def drawn(cls, sources: Sequence[Source], space: SearchSpace, plan: FewShotPlan) -> _KnownPool:
        models = [_model(source, space, first=sources[0].name) for source in sources]
        rng = np.random.default_rng([plan.seed, NUM_DRAWN])
        architectures = draw_pool(space, NUM_DRAWN, rng)
        rows = np.array(architectures)
        source_ms = np.stack([model.predict_ms(rows) for model in models], axis=1)
        is_real: NDArray[np.bool_] = np.all(source_ms > 0, axis=1)
        architectures = [a for a, real in zip(architectures, is_real.tolist(), strict=True) if real]
        num, needed = len(architectures), plan.num_networks + plan.num_held_out
        if num < needed:
            raise TableError(
                f"expected {needed} networks that differ, {plan.num_networks} to learn from and {plan.num_held_out} to "
                f"certify with, found {num} in {space.spec.name}: give fewer"
            )
        networks = KnownNetworks(source_ms=source_ms[is_real], choices=_numbered(space, rows[is_real]))
        order = np.argsort(networks.mean, kind="stable")
        held_out = (
            [int(rng.choice(part)) for part in np.array_split(order, plan.num_held_out)] if plan.num_held_out else []
        )
        return cls(
            architectures=tuple(architectures),
            networks=networks,
            candidates=np.setdiff1d(np.arange(num), held_out),
            held_out=tuple(held_out),
        )

    def plan(self, rows: Sequence[int], plan: FewShotPlan) -> TablePlan:
        """Return the plan to measure networks to learn from and those held out, no blocks."""
        networks = [NetworkPlan(architecture=self.architectures[row], role="calibration") for row in rows]
        networks += [NetworkPlan(architecture=self.architectures[row], role="held_out") for row in self.held_out]
        return TablePlan(
            blocks=(),
            networks=tuple(networks),
            num_positions=0,
            estimated_s=0.0,
            estimated_mb=0.0,
            precision=plan.precision,
            seed=plan.seed,
        )

    def measured(self, table: LatencyTable) -> dict[int, float]:
        """Return the milliseconds of the networks to learn from that could be measured, by row."""
        row_of = {architecture: row for row, architecture in enumerate(self.architectures)}
        return {
            row_of[n.architecture]: table.estimates_ms[n.measurement.key]
            for n in table.networks
            if n.role == "calibration" and n.measurement.error is None
        }


def _model(source: Source, space: SearchSpace, *, first: str) -> LatencyModel:
    if not source.table.space.has_networks_of(space.spec):
        raise TableError(
            f"expected tables of one space, found {source.name} of {source.table.space} beside "
            f"{first} of {space.spec}: leave one of the two out"
        )
    return LatencyModel(space, source.table, name=source.name)


def _numbered(space: SearchSpace, rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return choices numbered by their names, so that the same choice of two decisions has the same number."""
    names = sorted({choice for decision in space.decisions for choice in decision.choices})
    numbers = {name: number for number, name in enumerate(names)}
    by_decision = [np.array([numbers[choice] for choice in decision.choices]) for decision in space.decisions]
    return np.stack([of[column] for of, column in zip(by_decision, rows.T, strict=True)], axis=1)


def _with_blocks(
    table: LatencyTable,
    space: SearchSpace,
    sources: Sequence[Source],
    known: _KnownPool,
    predicted_ms: NDArray[np.float64],
    measured: Sequence[int],
) -> LatencyTable:
    """Return the table with the blocks whose sums are closest to the predictions, and what it was made from."""
    keys = block_keys(space)
    counts = np.array([[found.get(key, 0) for key in keys] for found in map(_counting(space), known.architectures)])
    together_ms = np.exp(np.mean(np.log(known.networks.source_ms[measured]), axis=1))
    scale = float(np.median(predicted_ms[measured] / together_ms))
    usual_ms = scale * np.mean([[max(LEAST_MS, s.table.block_ms(key)) for key in keys] for s in sources], axis=0)
    block_ms = _closest_blocks(counts.astype(np.float64), usual_ms, predicted_ms)
    return replace(
        table,
        reported=tuple(ReportedLatency(key=k, mean_ms=float(ms)) for k, ms in sorted(zip(keys, block_ms, strict=True))),
        provenance=replace(
            table.provenance,
            stopped_by=ADAPTED,
            worker={
                **table.provenance.worker,
                "adapted_from": "; ".join(origin_of_base(source.table) for source in sources),
                "adapted_scale": scale,
                "adapted_by": f"{len(measured)} networks that a model of {_tables(len(sources))} chose",
            },
        ),
    )


def _counting(space: SearchSpace) -> Callable[[Architecture], dict[str, int]]:
    return lambda architecture: block_counts(space, architecture)


def _closest_blocks(
    counts: NDArray[np.float64], usual_ms: NDArray[np.float64], predicted_ms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return block latencies, none below zero, whose sums follow the predictions: a ridge regression of their errors.

    Args:
        counts: [num_networks, num_blocks].
        usual_ms: [num_blocks] what the blocks are drawn to where networks do not tell.
    """
    of_networks = counts * usual_ms / predicted_ms[:, None] / PREDICTION_STD
    prior = np.eye(len(usual_ms)) / BLOCK_STD
    found = lsq_linear(
        np.concatenate([of_networks, prior]),
        np.concatenate([np.full(len(counts), 1 / PREDICTION_STD), prior.sum(axis=1)]),
        bounds=(0.0, np.inf),
    )
    block_ms: NDArray[np.float64] = np.maximum(LEAST_MS, usual_ms * found.x)
    return block_ms


def _tables(num: int) -> str:
    return "1 table" if num == 1 else f"{num} tables"
