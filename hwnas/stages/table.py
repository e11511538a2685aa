"""The latency table of a run: checked where it is given, else made for it."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from hwnas.config import TrustConfig
from hwnas.errors import RequestError
from hwnas.profiling import onnx_cache, profile_space, shown
from hwnas.quantities import Budget, format_ms
from hwnas.stages.latency import LatencyRequest
from hwnas.stages.setup import ROUNDS, Setup
from hwnas.stages.speed import Speed, time_references
from hwnas.trust import (
    OVERRIDE,
    describe_certificate,
    describe_tail,
    doubts,
    require_own_certificate,
    require_trust,
)
from lut import LatencyModel, LatencyTable, LaterTableError, TableError, load_table, plan_table
from lut.build import TablePlan, journal_beside, require_extent
from lut.extend import extend_table, extension_plan, forget_extensions
from lut.tails import Tail, least_rounds
from profilers import MeasurementError, Profiler
from profilers.session import ROUNDS_PER_RESTART
from search_spaces.cost import GraphCosts
from search_spaces.overview import extreme_architecture

NUM_NETWORKS = 50

MOST_EXTENSIONS = 2
EXTRA_NETWORKS = 40
"""Networks for calibration that an extension adds."""

OUT_OF_REACH = 1.5
"""A few rounds are enough to tell that a network takes so many times the budget."""


def require_acceptable(setup: Setup, table: LatencyTable, trust: TrustConfig, *, name: str) -> None:
    """Raise RequestError for a given table that is not good enough, or of another precision than asked for."""
    require_trust(table, trust, name=name)
    if not trust.accept_any:
        require_own_certificate(table, setup.space, name=name)
    if table.provenance.precision != setup.precision:
        raise RequestError(f"{name} holds {table.provenance.precision} latencies, but --precision is {setup.precision}")


def describe_table(
    setup: Setup,
    table: LatencyTable,
    doubt: str | None,
    *,
    tail: Tail | None = None,
    given: Path | None,
    finalists: int,
) -> None:
    """Say how good a table is, and what follows where it is poor or imported.

    Args:
        tail: the percentile that budgets are held on, from the table; None for the median.
        given: its file, where it was given.
        finalists: networks that are to be measured at a time before one is chosen.
    """
    setup.reporter.line(describe_certificate(table))
    if tail is not None:
        setup.reporter.line(describe_tail(tail))
    if not setup.device.is_measurable:
        setup.reporter.warn(
            f"nothing is measured: {given} was published for {setup.device.name}, networks are chosen by its "
            "predictions alone; --device NAME measures them on such a device"
        )
    if doubt is not None:
        setup.reporter.warn(
            f"the table {doubt}. So {num_finalists(finalists, doubt)} networks instead of {finalists} are "
            "measured at a time before one is chosen: the budget is kept as measured, whatever is predicted"
        )


def table_rounds(percentile: int) -> int:
    """Return the rounds that a run's own table is measured for at most."""
    return max(ROUNDS, least_rounds(percentile))


def num_finalists(asked: int, doubt: str | None) -> int:
    """Return how many networks are measured at a time: twice as many as asked for where the table is poor."""
    return asked * (1 if doubt is None else 2)


def doubts_of_own(table: LatencyTable, trust: TrustConfig) -> str | None:
    """Return why a table that was made for a run is poor, as what follows its name; None where any is accepted."""
    return None if trust.accept_any else doubts(table, trust)


def own_table(
    setup: Setup, path: Path, trust: TrustConfig, request: LatencyRequest, *, has_begun: bool
) -> LatencyTable:
    """Return the table made for this run, with latencies of its device; made now unless it is there already.

    Args:
        has_begun: whether the run has begun with the table that is there.

    Raises:
        RequestError: the device is an emulator, or no network keeps a budget by far.
    """
    if has_begun and path.exists():
        journal_beside(path).unlink(missing_ok=True)  # of a process that was killed before it could
        return load_table(path)
    if path.exists():
        try:
            table = load_table(path)
            table.require_origin(setup.space.spec, setup.device, precision=setup.precision, name=str(path))
            require_own_certificate(table, setup.space, name=str(path))
            require_extent(table, setup.space, least_rounds=least_rounds(setup.percentile), name=str(path))
            return table
        except LaterTableError:
            raise
        except TableError:  # left by a request that proved impossible before the run began
            path.unlink()
            forget_extensions(path)
    _require_latencies(setup, trust)
    _require_in_reach(setup, request)
    plan = plan_table(
        setup.space,
        rounds=table_rounds(setup.percentile),
        num_networks=NUM_NETWORKS,
        batch=setup.device.batch,
        precision=setup.precision,
        seed=setup.seed,
    )
    profiler = Profiler(
        device=setup.device,
        rounds=table_rounds(setup.percentile),
        least_rounds=least_rounds(setup.percentile),
        seed=setup.seed,
    )
    return profile_space(setup.space, path, plan, profiler=profiler, reporter=setup.reporter)


def _require_latencies(setup: Setup, trust: TrustConfig) -> None:
    if setup.device.emulated and not trust.accept_any:
        raise RequestError(f"{setup.device.name} is an emulator: its numbers are no latencies of a device; {OVERRIDE}")


def _require_in_reach(setup: Setup, request: LatencyRequest) -> None:
    """Raise RequestError for a budget in milliseconds that a few rounds of the smallest network show to be hopeless."""
    budgets = [Budget.parse(text).milliseconds for text in (request.max_latency, *request.more)]
    given = [ms for ms in budgets if ms is not None]
    if not given:
        return
    smallest = setup.space.canonical(extreme_architecture(setup.space, GraphCosts(setup.space).macs, largest=False))
    if not setup.space.depends_on_input(smallest):
        return
    takes_ms = setup.roughly_ms(setup.model_of(smallest), rounds=ROUNDS_PER_RESTART)
    if takes_ms > OUT_OF_REACH * min(given):
        raise RequestError(
            f"no architecture under {format_ms(min(given))}: the network of fewest multiply-accumulates takes about "
            f"{format_ms(takes_ms)} on {setup.device.name}; give a larger budget, or a share such as 60%"
        )


def improved_table(setup: Setup, table: LatencyTable, path: Path, trust: TrustConfig) -> LatencyTable:
    """Measure a run's own table on as long as it is not good enough and the time for it lasts."""
    deadline = monotonic() + 60 * trust.extra_minutes
    for seed in range(setup.seed + 1, setup.seed + 1 + MOST_EXTENSIONS):
        doubt, minutes = doubts_of_own(table, trust), (deadline - monotonic()) / 60
        if doubt is None or minutes <= 0:
            break
        plan = extension_plan(table, setup.space, num_networks=EXTRA_NETWORKS, seed=seed)
        if plan is None:  # it is in the table
            continue
        num_new = len(plan.networks) - len(table.networks)
        setup.reporter.line(
            f"the table {doubt}. Measuring on, with {num_new} more networks, for up to {minutes:.1f} min"
        )
        table = _extended(setup, table, path, plan, minutes)
    forget_extensions(path)  # of tables that were written by a run that was killed before it could
    return table


def _extended(setup: Setup, table: LatencyTable, path: Path, plan: TablePlan, minutes: float) -> LatencyTable:
    rounds = table_rounds(setup.percentile)
    with shown(setup.reporter, "profile", rounds) as on_progress:
        return extend_table(
            table,
            setup.space,
            path,
            plan,
            profiler=Profiler(
                device=setup.device,
                rounds=rounds,
                least_rounds=least_rounds(setup.percentile),
                seed=plan.seed,
                max_minutes=minutes,
                on_progress=on_progress,
            ),
            onnx_folder=onnx_cache(),
            on_export=lambda done, total: on_progress("export", done, total),
        )


def timed_now(setup: Setup, then: LatencyModel, near_ms: float) -> Speed | None:
    """Return how fast the machine is; None for a device that cannot be reached, which is no obstacle yet.

    Raises:
        RequestError: the table is of another machine.
    """
    try:
        return time_references(setup, then, near_ms)
    except MeasurementError as error:
        setup.reporter.warn(f"cannot tell how fast {setup.device.name} is now: {error}")
        return None
