"""More measurements for a table that is not good enough yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lut.build import TablePlan, finished, journal_beside, measure_plan, plan_table
from lut.merge import merge_tables
from lut.networks import DUPLICATE, NetworkPlan, draw_networks
from lut.table import LatencyTable, save_table
from profilers import Profiler
from search_spaces import SearchSpace

TOLERATED = 0.05
"""Share of the held-out networks: a table that predicts so many fewer within 10 % is less lucky, not worse."""


def extension_plan(table: LatencyTable, space: SearchSpace, *, num_networks: int, seed: int) -> TablePlan | None:
    """Plan all of the table once more, and networks for calibration that it lacks; None where it lacks none.

    Args:
        num_networks: drawn by the seed; those that the table has are not drawn again, so there can be fewer.
    """
    known = {n.architecture: NetworkPlan(architecture=n.architecture, role=n.role) for n in table.networks}
    drawn = [p.architecture for p in draw_networks(space, num_networks, seed=seed) if p.role != DUPLICATE]
    fresh = [NetworkPlan(architecture=a, role="calibration") for a in drawn if a not in known]
    if not fresh:
        return None
    again = [NetworkPlan(architecture=n.architecture, role=n.role) for n in table.networks]
    plan = plan_table(
        space,
        rounds=table.provenance.rounds,
        batch=table.batch,
        precision=table.provenance.precision,
        seed=seed,
    )
    return replace(plan, networks=(*again, *fresh))


def extend_table(
    table: LatencyTable,
    space: SearchSpace,
    path: Path,
    plan: TablePlan,
    *,
    profiler: Profiler,
    onnx_folder: Path,
    on_export: Callable[[int, int], None] = lambda *_: None,
) -> LatencyTable:
    """Measure the plan and join its samples with the table's, as restarts of their own; calibrate and certify anew.

    Blocks and networks that were measured before tell how fast the machine was each time; where it was slowed then and
    is less so now, only the new samples count. An interrupted call is continued by the next. The better table is at
    `path` afterwards, and is returned.

    Raises as `build_table` does.
    """
    beside = extension_beside(path, plan.seed)
    measured = measure_plan(space, beside, plan, profiler=profiler, onnx_folder=onnx_folder, on_export=on_export)
    better = _better(table, measured, space)
    if better is not table:
        save_table(better, path)
    journal_beside(beside).unlink()
    return better


def extension_beside(path: Path, seed: int) -> Path:
    """Return the path of an extension of the table; only its journal ever exists."""
    return path.with_name(f"{path.stem}.extension-{seed}{path.suffix}")


def forget_extensions(path: Path) -> None:
    """Remove the journals of extensions of the table at `path`."""
    for journal in path.parent.glob(f"{path.stem}.extension-*{path.suffix}.journal"):
        journal.unlink()


def _better(table: LatencyTable, measured: LatencyTable, space: SearchSpace) -> LatencyTable:
    """Return both joined, unless that is worse; the new one alone where the table is not to be believed."""
    if not table.slowdown.is_believed:
        return finished(measured, space) if measured.slowdown.by < table.slowdown.by else table
    joined = merge_tables([table, measured], space)
    return table if _is_worse(joined, table) else joined


def _is_worse(new: LatencyTable, old: LatencyTable) -> bool:
    if old.certificate is None or new.certificate is None or not new.slowdown.is_believed:
        return old.certificate is not None
    return new.certificate.within_10pct < old.certificate.within_10pct - TOLERATED
