"""Search space and device to latency table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from lut.calibration import MIN_NETWORKS, calibrate
from lut.certificate import Certificate, certify
from lut.errors import TableError
from lut.layout import LayoutWalk, block_layout
from lut.model import predict_ms
from lut.networks import CALIBRATION_SHARE, DUPLICATE, NetworkMeasurement, NetworkPlan, Role, draw_networks
from lut.provenance import Provenance
from lut.table import LatencyTable, save_table
from onnx_models.precision import Precision, in_precision
from profilers import Device, Measurement, Model, Profiler
from profilers.estimate import split_half_error
from profilers.grouping import estimate_bytes
from profilers.quoting import printable
from profilers.result import Inspection, ProfileResult
from profilers.runtime import runtime_of
from profilers.session import ROUNDS_PER_RESTART
from safe_files import raise_if_full
from search_spaces import Architecture, Block, ExportError, SearchSpace
from search_spaces.cost import GraphCosts, block_cost
from search_spaces.onnx_export import export_block, export_network

FEWEST_NETWORKS = 10
"""So many are enough to calibrate and certify with."""

ASSUMED_MACS_PER_S = 15e9
"""Single-thread speed for the estimate before the work: of the order of a current server core."""

ASSUMED_EXPORT_S = 0.03
ASSUMED_NETWORK_EXPORT_S = 0.3
"""Per block and per network, on a current server core."""

ASSUMED_OPEN_S = 0.02
"""Per model and restart."""

SETTLED = 0.006
SETTLED_SUB_MS = 0.008
"""Measuring stops once odd and even restarts of the networks differ by no more on average; the second for networks of
less than a millisecond."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TablePlan:
    """The work that profiling a space involves.

    Attributes:
        blocks: the distinct blocks to be measured.
        networks: whole networks for calibration and certificate.
        num_positions: layer and choice combinations the blocks stand for; the rest need no measurement of their own.
        estimated_s: rough seconds on a server core, export included.
        estimated_mb: rough memory of all opened models together.
    """

    blocks: tuple[Block, ...]
    networks: tuple[NetworkPlan, ...]
    num_positions: int
    estimated_s: float
    estimated_mb: float
    precision: Precision
    seed: int


def plan_table(
    space: SearchSpace,
    *,
    rounds: int,
    num_networks: int = 0,
    batch: int = 1,
    precision: Precision = "fp32",
    seed: int = 0,
) -> TablePlan:
    """Plan the distinct blocks of a space and random networks, and estimate how long measuring them takes.

    Of a space that has fewer networks all are planned, which may be too few for a certificate.

    Raises:
        TableError: too few networks are asked for to calibrate and certify with.
    """
    blocks = tuple({block.key: block for block in space.candidates if not block.is_identity}.values())
    networks = tuple(draw_networks(space, num_networks, seed=seed))
    if num_networks and round(CALIBRATION_SHARE * num_networks) < MIN_NETWORKS:
        raise TableError(
            f"{num_networks} networks are too few to calibrate and certify with; give {FEWEST_NETWORKS} or more, or 0"
        )
    macs = [block_cost(block).macs for block in blocks]
    params = [block_cost(block).params for block in blocks]
    if networks:
        architectures = np.array([n.architecture for n in networks])
        macs += GraphCosts(space).macs(architectures).tolist()
        params += GraphCosts(space).params(architectures).tolist()
    opening_s = ASSUMED_OPEN_S * len(macs) * math.ceil(rounds / ROUNDS_PER_RESTART)
    visits_s = sum(4 * (20e-6 + batch * m / ASSUMED_MACS_PER_S) for m in macs)
    export_s = len(blocks) * ASSUMED_EXPORT_S + len(networks) * ASSUMED_NETWORK_EXPORT_S
    return TablePlan(
        blocks=blocks,
        networks=networks,
        num_positions=sum(len(d.choices) for d in space.decisions),
        estimated_s=export_s + opening_s + rounds * visits_s + 2.0,
        estimated_mb=sum(estimate_bytes(4 * int(p)) for p in params) / 2**20,
        precision=precision,
        seed=seed,
    )


def build_table(
    space: SearchSpace,
    path: Path,
    plan: TablePlan,
    *,
    profiler: Profiler,
    onnx_folder: Path,
    on_export: Callable[[int, int], None] = lambda *_: None,
    is_fresh: bool = False,
) -> LatencyTable:
    """Measure every block and network of the plan and write the table; continues what an interrupted call left.

    The samples live in a journal beside the table until the table is written.

    Args:
        path: the table's file.
        profiler: measures, on its device; asked to stop once the networks have settled.
        onnx_folder: where exported models are kept, and found again by key and versions.
        on_export: told how many models are exported of how many.
        is_fresh: export in any case.

    Raises:
        TableError: the table cannot be written, or the device's runtime does not take models of that precision.
        MeasurementError: the device cannot be measured.
        JournalError: the journal beside the table belongs to another space, device or version.
    """
    measured = measure_plan(
        space, path, plan, profiler=profiler, onnx_folder=onnx_folder, on_export=on_export, is_fresh=is_fresh
    )
    table = finished(measured, space)
    save_table(table, path)
    journal_beside(path).unlink()
    return table


def require_extent(
    table: LatencyTable,
    space: SearchSpace,
    *,
    networks: int | None = None,
    seed: int | None = None,
    rounds: int | None = None,
    least_rounds: int = 0,
    name: str = "the table",
) -> None:
    """Raise TableError where a whole table holds less than what is asked for, or by another seed.

    Args:
        networks, seed, rounds: as they would be planned for; None for any.
        least_rounds: whatever ended the measuring.
    """
    found = table.provenance
    remedy = "--fresh measures it again, another --output keeps it"
    if seed not in (None, found.seed):
        raise TableError(f"{name} is complete, by seed {found.seed}; seed {seed} was asked for: {remedy}")
    if rounds is not None and found.stopped_by == "rounds" and found.rounds < rounds:
        raise TableError(f"{name} is complete with {found.rounds} rounds; {rounds} were asked for: {remedy}")
    if found.rounds < least_rounds:
        raise TableError(f"{name} is complete with {found.rounds} rounds; {least_rounds} at least are needed: {remedy}")
    wanted = set() if networks is None else {n.key for n in draw_networks(space, networks, seed=found.seed)}
    if wanted - {n.measurement.key for n in table.networks}:
        raise TableError(
            f"{name} is complete with {len(table.networks)} networks, duplicates counted; {len(wanted)} were "
            f"asked for: {remedy}"
        )


def measure_plan(
    space: SearchSpace,
    path: Path,
    plan: TablePlan,
    *,
    profiler: Profiler,
    onnx_folder: Path,
    on_export: Callable[[int, int], None] = lambda *_: None,
    is_fresh: bool = False,
) -> LatencyTable:
    """Measure a plan into a table that is neither calibrated nor saved; the journal beside `path` stays.

    Raises as `build_table` does.
    """
    journal_path = journal_beside(path)
    require_writable(path)
    _require_precision(plan.precision, profiler.device)
    profiler.require_reachable()
    models, unexportable = _export(space, plan, profiler.device, onnx_folder, on_export, is_fresh=is_fresh)
    network_keys = {n.key: n for n in plan.networks}
    settling = replace(profiler, is_settled=lambda ms: have_settled(ms, network_keys))
    result = settling.measure(models, journal_path)
    measured = {m.key for m in result.measurements if m.error is None}
    inspected = settling.inspect([m for m in models if m.key in measured and m.key not in network_keys])
    failed = tuple(Measurement(key=key, error=message) for key, message in unexportable.items())
    return LatencyTable(
        space=space.spec,
        provenance=replace(_provenance(plan, profiler.device, models, result), fallbacks=_fallbacks(inspected)),
        entries=tuple(m for m in result.measurements if m.key not in network_keys) + failed,
        networks=tuple(
            NetworkMeasurement(
                architecture=network_keys[m.key].architecture, role=network_keys[m.key].role, measurement=m
            )
            for m in result.measurements
            if m.key in network_keys
        ),
        layouts={
            b.key: block_layout(b, inspected[b.key].operations)
            for b in plan.blocks
            if b.key in inspected and (space.is_chain or space.wiring is not None)  # followed from block to block
        },
        pace=result.pace,
        energy_mj={key: found.energy_mj for key, found in inspected.items() if found.energy_mj is not None},
    )


def _require_precision(precision: Precision, device: Device) -> None:
    taken = runtime_of(device.runtime).precisions
    if precision not in taken:
        raise TableError(
            f"{device.name} runs {device.runtime}, which takes models in {' and '.join(taken)}, not in {precision}: "
            "give --precision"
        )


def _fallbacks(inspected: Mapping[str, Inspection]) -> dict[str, dict[str, int]]:
    return {key: dict(Counter(found.fallbacks)) for key, found in inspected.items() if found.fallbacks}


def _provenance(plan: TablePlan, device: Device, models: Sequence[Model], result: ProfileResult) -> Provenance:
    return Provenance(
        device=device.settings(),
        worker=result.worker,
        precision=plan.precision,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        rounds=result.num_rounds,
        stopped_by=result.stopped_by,
        num_groups=result.num_groups,
        throttled_rounds=result.num_throttled,
        is_emulated=device.emulated,
        seed=plan.seed,
        onnx_sha256={m.key: m.sha256 for m in models},
    )


def finished(table: LatencyTable, space: SearchSpace) -> LatencyTable:
    """Return the table with calibration and certificate from its networks, or without both where there are too few.

    Networks that failed, that were measured only once, or that contain a block that failed, say nothing.

    Raises:
        SpaceError: a network of the table is none of the space.
        TableError: a block of the table is none of the space.
    """
    table.require_blocks_of(space)
    networks = _usable(table, space, "calibration")
    if len(networks) < MIN_NETWORKS or len(_usable(table, space, "held_out")) < 2:
        return replace(table, calibration=None, certificate=None)
    architectures = [n.architecture for n in networks]
    calibrated = replace(
        table,
        calibration=calibrate(
            table.latency_ms,
            [block_counts(space, a) for a in architectures],
            [table.estimates_ms[n.measurement.key] for n in networks],
            sizes={b.key: table.block_size(b) for b in space.candidates},
            conversions=LayoutWalk(space, table.layouts).changes(np.array(architectures)),
        ),
    )
    return replace(calibrated, certificate=certificate_of(calibrated, space))


def block_counts(space: SearchSpace, architecture: Architecture) -> dict[str, int]:
    """Return how often each block, by key, is in a network."""
    counts: dict[str, int] = {}
    for block in space.blocks(architecture):
        if not block.is_identity:
            counts[block.key] = counts.get(block.key, 0) + 1
    return counts


def have_settled(measurements: Sequence[Measurement], networks: Mapping[str, NetworkPlan]) -> bool:
    """Return whether odd and even restarts agree about the networks; never without networks."""
    chosen = [m for m in measurements if m.key in networks and m.error is None]
    if not chosen:
        return False
    limit = SETTLED if np.median([m.median_ms for m in chosen]) >= 1.0 else SETTLED_SUB_MS
    # All measurements together tell what disturbed them; the networks alone say when it is enough.
    return split_half_error([m for m in measurements if m.error is None], of=networks.keys()) <= limit


def certificate_of(table: LatencyTable, space: SearchSpace) -> Certificate | None:
    """Return how wrong the table's predictions are by its held-out networks; None where those are fewer than two.

    Raises:
        SpaceError: a network of the table is none of the space.
    """
    held_out = _usable(table, space, "held_out")
    if len(held_out) < 2:
        return None
    measured = {n.architecture: table.estimates_ms[n.measurement.key] for n in held_out}
    differences = [
        abs(table.estimates_ms[n.measurement.key] / measured[n.architecture] - 1)
        for n in _usable(table, space, DUPLICATE)
        if n.architecture in measured
    ]
    return certify(
        predict_ms(table, space, np.array([n.architecture for n in held_out])).tolist(),
        [measured[n.architecture] for n in held_out],
        repeatability_mape=float(np.mean([table.split_half_errors[n.measurement.key] for n in held_out])),
        duplicates_mape=float(np.mean(differences)) if differences else None,
    )


def _usable(table: LatencyTable, space: SearchSpace, role: Role) -> list[NetworkMeasurement]:
    """Return the networks of a role that tell something.

    What calibrates does not certify too, though each of two tables that were merged may have drawn it for another role.
    """
    calibrating = {n.architecture for n in table.networks if n.role == "calibration"}
    return [
        n
        for n in table.networks
        if n.role == role
        and (role == "calibration" or n.architecture not in calibrating)
        and n.measurement.num_samples >= 2
        and block_counts(space, n.architecture).keys() <= table.latency_ms.keys()
    ]


def _export(
    space: SearchSpace,
    plan: TablePlan,
    device: Device,
    folder: Path,
    on_export: Callable[[int, int], None],
    *,
    is_fresh: bool,
) -> tuple[list[Model], dict[str, str]]:
    """Return the models of a plan, and what could not be exported."""

    def export_planned(planned: Block | NetworkPlan) -> Path:
        if isinstance(planned, Block):
            return export_block(planned, folder, batch=device.batch, opset=device.opset, is_fresh=is_fresh)
        architecture = planned.architecture
        return export_network(space, architecture, folder, batch=device.batch, opset=device.opset, is_fresh=is_fresh)

    models, unexportable = [], {}
    jobs: list[Block | NetworkPlan] = [*plan.blocks, *plan.networks]
    for done, planned in enumerate(jobs, start=1):
        try:
            is_part = isinstance(planned, Block)
            path = in_precision(export_planned(planned), plan.precision, is_part=is_part, is_fresh=is_fresh)
            models.append(Model(key=planned.key, path=path))
        except ExportError as error:
            unexportable[planned.key] = printable(str(error))
        on_export(done, len(jobs))
    return models, unexportable


def journal_beside(path: Path) -> Path:
    """Return where the samples of an unfinished table are."""
    return path.with_name(path.name + ".journal")


def require_writable(path: Path) -> None:
    """Make the file's folder and check that files can be made in it.

    Raises:
        TableError: they cannot, or something else than a file is there, which would be lost.
        WriteError: there is no room.
    """
    if not path.name:
        raise TableError(f"expected the name of a file, found {str(path)!r}")
    if path.exists() and not path.is_file():
        raise TableError(
            f"cannot write the table {path}: expected a regular file or none, found a folder, pipe, device or socket; "
            "give another output"
        )
    probe = path.with_name(f".{path.name}.probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise_if_full(error, path)
        raise TableError(f"cannot write to {path.parent}: {error.strerror}; give another folder") from error
