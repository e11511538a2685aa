"""How fast the machines of a run are by its tables: measured once, and written down."""

from __future__ import annotations

import numpy as np

from hwnas.artifacts import TimedTable
from hwnas.pipeline.run import Run
from hwnas.quantities import Budget
from hwnas.stages.latency import CurrentModel
from hwnas.stages.setup import Setup
from hwnas.stages.speed import Speed
from hwnas.stages.table import timed_now
from lut import LatencyModel, LatencyTable


def known_speed(run: Run, table: LatencyTable, number: int | None = None) -> Speed | None:
    """Return the speed that was measured before; None where none was, or that of another table.

    Args:
        number: of a further device of a fleet; None for the run's first.
    """
    timed = run.files.read_speed(number)
    if timed is not None and timed.table == identity(table):
        return Speed(drift=timed.drift)
    # Runs of earlier versions did not measure it; theirs are over, and nothing is measured to look at them.
    return Speed() if run.files.search.outcome.exists() else None


def measured_speed(run: Run, setup: Setup, then: LatencyModel, *, max_latency: str, number: int | None = None) -> Speed:
    """Measure how fast the machine of a device is, and write it down.

    Args:
        max_latency: the budget there.
        number: of a further device of a fleet; None for the run's first.

    Raises:
        RequestError: the table is of another machine.
    """
    near_ms = Budget.parse(max_latency).resolve_ms(CurrentModel(then=then).whole_ms)
    speed = timed_now(setup, then, near_ms)
    if speed is None:
        return Speed()
    run.files.write_speed(TimedTable(table=identity(then.table), drift=speed.drift), number)
    return speed


def identity(table: LatencyTable) -> str:
    """Return a text that tells tables apart."""
    total_ms = float(np.sum(list(table.estimates_ms.values())))
    return f"{table.provenance.date}, {len(table.estimates_ms)} models of {total_ms:.9g} ms"
