"""Search space and device to latency table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lut.errors import TableError
from lut.table import LatencyTable, Provenance, save_table
from profilers import Device, Measurement, Model, Profiler
from search_spaces import Block, ExportError, SearchSpace
from search_spaces.cost import block_cost
from search_spaces.onnx_export import export_block

ASSUMED_MACS_PER_S = 15e9
"""Single-thread speed for the estimate before the work: of the order of a current server core."""

ASSUMED_EXPORT_S = 0.03
"""Per block, on a current server core."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockPlan:
    """What profiling a space involves.

    Attributes:
        blocks: the distinct blocks to be measured.
        num_positions: layer and choice combinations they stand for; the rest need no measurement of their own.
        estimated_s: rough seconds on a server core, export included.
    """

    blocks: tuple[Block, ...]
    num_positions: int
    estimated_s: float


def plan_blocks(space: SearchSpace, *, rounds: int, batch: int = 1) -> BlockPlan:
    """The distinct blocks of a space by key, and about how long measuring them takes."""
    distinct = {block.key: block for block in space.candidates if not block.is_identity}
    blocks = tuple(distinct.values())
    visits_s = [2 * (20e-6 + batch * block_cost(block).macs / ASSUMED_MACS_PER_S) for block in blocks]
    return BlockPlan(
        blocks=blocks,
        num_positions=sum(len(d.choices) for d in space.decisions),
        estimated_s=len(blocks) * ASSUMED_EXPORT_S + rounds * sum(visits_s) + 2.0,
    )


def build_table(
    space: SearchSpace,
    device: Device,
    path: Path,
    *,
    profiler: Profiler,
    onnx_folder: Path,
    on_export: Callable[[int, int], None] = lambda *_: None,
) -> LatencyTable:
    """Measure every distinct block of the space and write the table; continues what an interrupted call left.

    The samples live in a journal beside the table until the table is written.

    Args:
        path: the table's file.
        profiler: measures; its device is `device`.
        onnx_folder: where exported blocks are kept, and found again by key and versions.
        on_export: told how many blocks are exported of how many.

    Raises:
        TableError: the table cannot be written.
        MeasurementError: the device cannot be measured.
        JournalError: the journal beside the table belongs to another space, device or version.
    """
    journal_path = journal_beside(path)
    require_writable(path)
    blocks = plan_blocks(space, rounds=profiler.rounds).blocks
    models: list[Model] = []
    unexportable: dict[str, str] = {}
    for done, block in enumerate(blocks, start=1):
        try:
            models.append(Model(key=block.key, path=export_block(block, onnx_folder, batch=device.batch)))
        except ExportError as error:
            unexportable[block.key] = str(error)
        on_export(done, len(blocks))
    result = profiler.measure(models, journal_path)
    failed = tuple(Measurement(key=key, error=message) for key, message in unexportable.items())
    table = LatencyTable(
        space=space.spec,
        provenance=Provenance(
            device=device.settings(),
            worker=result.worker,
            precision="fp32",
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            rounds=result.num_rounds,
            onnx_sha256={model.key: model.sha256 for model in models},
        ),
        entries=result.measurements + failed,
    )
    save_table(table, path)
    journal_path.unlink()
    return table


def journal_beside(path: Path) -> Path:
    """Where the samples of an unfinished table are."""
    return path.with_name(path.name + ".journal")


def require_writable(path: Path) -> None:
    """Make the file's folder and check that files can be made in it.

    Raises:
        TableError: they cannot.
    """
    probe = path.with_name(f".{path.name}.probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TableError(f"cannot write to {path.parent}: {error.strerror}; give another folder") from error
