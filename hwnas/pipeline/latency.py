"""The latency table of a run, and how fast its machine is by it."""

from __future__ import annotations

from hwnas.errors import RequestError
from hwnas.pipeline.fleet import with_fleet
from hwnas.pipeline.run import Run
from hwnas.pipeline.speeds import identity, known_speed, measured_speed
from hwnas.stages.latency import Latency, LatencyRequest, latency_of
from hwnas.stages.speed import Speed
from hwnas.stages.table import (
    describe_table,
    doubts_of_own,
    improved_table,
    own_table,
    require_acceptable,
)
from hwnas.trust import required_tail, tail_doubt
from lut import LatencyModel, LatencyTable, load_table
from lut.tails import Tail
from profilers.tails import MEDIAN


def prepare_latency(run: Run) -> Latency:
    """Load the table, or profile the space on the device first where none is given, and see how fast the machine is.

    The same for every further device of a fleet, whose table is always given.

    Raises:
        RequestError: a table that was given is not good enough, or a budget is below the fastest architecture.
        TableError: the table does not fit the space.
    """
    config, setup, path = run.config, run.setup, run.kept.table
    if run.given_table is not None:
        table = kept_table(run)
        require_acceptable(setup, table, config.trust, name=run.table_name)
    else:
        table = own_table(setup, path, config.trust, _request(run), has_begun=run.has_begun or run.source is not None)
    speed = known_speed(run, table)
    if speed is None and run.given_table is None and run.origin is None:
        table = improved_table(setup, table, path, config.trust)
    tail = _tail(run, table)
    doubt = _doubt(run, table, tail)
    describe_table(setup, table, doubt, tail=tail, given=config.lut, finalists=config.search.finalists)
    then = LatencyModel(run.space, table, name=run.table_name)
    if speed is None:
        speed = measured_speed(run, setup, then, max_latency=config.max_latency)
    first = latency_of(then, speed, _request(run), tail=tail, doubt=doubt, reporter=run.reporter)
    return with_fleet(run, first)


def read_latency(run: Run) -> Latency:
    """Return what a run that has searched predicts latencies by; nothing but its folder is needed.

    Raises:
        RequestError: its table is not there, or is another than it was begun with.
    """
    table = kept_table(run)
    then = LatencyModel(run.space, table, name=run.table_name)
    speed = known_speed(run, table) or Speed()
    tail = _tail(run, table)
    first = latency_of(then, speed, _request(run), tail=tail, doubt=_doubt(run, table, tail), reporter=run.reporter)
    return with_fleet(run, first, is_read=True)


def kept_table(run: Run) -> LatencyTable:
    """Return the table of a run; of one that has begun, the table that it was begun with.

    Raises:
        RequestError: it is another than the run was begun with.
        TableError: it cannot be read.
    """
    table = run.given_table or load_table(run.kept.table)
    # Runs of earlier versions kept no copy, but wrote down which table it was.
    is_old = run.has_begun and run.inputs is None
    if is_old and (timed := run.files.read_speed()) is not None and timed.table != identity(table):
        raise RequestError(
            f"{run.table_name} is not the table that {run.folder} was begun with: expected {timed.table}, found "
            f"{identity(table)}; give that table with --lut"
        )
    return table


def _request(run: Run) -> LatencyRequest:
    config = run.config
    return LatencyRequest(max_latency=config.max_latency, more=config.budgets, confidence=config.search.confidence)


def _tail(run: Run, table: LatencyTable) -> Tail | None:
    """Return how the percentile that budgets are held on follows from the table; None for the median.

    Raises:
        RequestError: the table does not tell it.
    """
    config = run.config
    if config.percentile == MEDIAN:
        return None
    return required_tail(table, run.space, config.percentile, config.trust, name=run.table_name)


def _doubt(run: Run, table: LatencyTable, tail: Tail | None) -> str | None:
    """Return why a table is poor: that of the run itself, or any at predicting the percentile of budgets."""
    trust = run.config.trust
    own = None if run.given_table is not None else doubts_of_own(table, trust)
    return own if own is not None or tail is None else tail_doubt(tail, trust)
