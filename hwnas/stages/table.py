"""The latency table of a run: given, or made for it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from hwnas.errors import RequestError
from hwnas.kept_table import SPEED, identity, kept_table, speed_record
from hwnas.profiling import measure_networks, onnx_cache, profile_space, shown
from hwnas.quantities import Budget, format_ms
from hwnas.run import OWN_TABLE, Run
from hwnas.stages.latency import CurrentModel, Latency, confident_margin, reachable_ms, searching_margin
from hwnas.stages.speed import Speed, time_references
from hwnas.trust import OVERRIDE, describe_certificate, doubts, require_own_certificate, require_trust
from lut import LatencyModel, LatencyTable, TableError, load_table, plan_table
from lut.build import TablePlan, journal_beside
from lut.extend import extend_table, extension_plan, forget_extensions
from lut.precision import network_in_precision
from profilers import MeasurementError, Profiler
from profilers.session import ROUNDS_PER_RESTART
from safe_files import write_text
from search_spaces.cost import GraphCosts
from search_spaces.overview import extreme_architecture

ROUNDS = 80
NUM_NETWORKS = 50

MOST_EXTENSIONS = 2
EXTRA_NETWORKS = 40
"""Networks for calibration that an extension adds."""

OUT_OF_REACH = 1.5
"""A few rounds are enough to tell that a network takes so many times the budget."""


def prepare_latency(run: Run) -> Latency:
    """Load the table, or profile the space on the device first where none is given, and see how fast the machine is.

    Raises:
        RequestError: the table that was given is not good enough, or the budget is below the fastest architecture.
        TableError: the table does not fit the space.
    """
    config = run.config
    table = _given_table(run) if run.given_table is not None else _own_table(run)
    speed = known_speed(run, table)
    if speed is None:
        table = _improved(run, table)
    doubt = _doubts(run, table)
    _describe(run, table, doubt)
    then = LatencyModel(run.space, table, name=run.table_name)
    if speed is None:
        budget = Budget.parse(config.max_latency)
        speed = _timed(run, table, budget.resolve_ms(then.extreme(slowest=True)[1]))
    return _latency(run, then, speed, doubt)


def read_latency(run: Run) -> Latency:
    """Return what a run that has searched predicts latencies by; nothing but its folder is needed.

    Raises:
        RequestError: its table is not there, or is another than it was begun with.
    """
    table = kept_table(run)
    then = LatencyModel(run.space, table, name=run.table_name)
    return _latency(run, then, known_speed(run, table) or Speed(), _doubts(run, table))


def _latency(run: Run, then: LatencyModel, speed: Speed, doubt: str | None) -> Latency:
    table, config = then.table, run.config
    model = CurrentModel(then=then, slow_down=speed.slow_down)
    margin = confident_margin(table, config.search.confidence)
    widened = searching_margin(table) if doubt and config.search.confidence is None else margin

    def reachable(budget: Budget) -> float:
        return reachable_ms(model, budget, run.reporter, leeway=max(1.0, widened))

    return Latency(
        model=model,
        speed=speed,
        max_ms=reachable(Budget.parse(config.max_latency)),
        more_ms={text: reachable(Budget.parse(text)) for text in config.budgets},
        margin=margin,
        search_margin=widened,
        doubt=doubt,
    )


def _given_table(run: Run) -> LatencyTable:
    table, config = kept_table(run), run.config
    require_trust(table, config.trust, name=run.table_name)
    if not config.trust.accept_any:
        require_own_certificate(table, run.space, name=run.table_name)
    if table.provenance.precision != config.precision:
        raise RequestError(
            f"{run.table_name} holds {table.provenance.precision} latencies, but --precision is {config.precision}"
        )
    return table


def _describe(run: Run, table: LatencyTable, doubt: str | None) -> None:
    run.reporter.line(describe_certificate(table))
    if not run.device.is_measurable:
        run.reporter.warn(
            f"nothing is measured: {run.config.lut} was published for {run.device.name}, networks are chosen by its "
            "predictions alone; --device NAME measures them on such a device"
        )
    if doubt is not None:
        run.reporter.warn(
            f"the table {doubt}. So {num_finalists(run, doubt)} networks instead of {run.config.search.finalists} are "
            "measured at a time before one is chosen: the budget is kept as measured, whatever is predicted"
        )


def num_finalists(run: Run, doubt: str | None) -> int:
    """Return how many networks are measured at a time: twice as many as asked for where the table is poor."""
    return run.config.search.finalists * (1 if doubt is None else 2)


def _doubts(run: Run, table: LatencyTable) -> str | None:
    """Return why a table of the run's own is poor, as what follows its name; None for one that was given."""
    trust = run.config.trust
    return None if run.given_table is not None or trust.accept_any else doubts(table, trust)


def _own_table(run: Run) -> LatencyTable:
    """Return the table made for this run; made now unless it is there already."""
    path = run.folder / OWN_TABLE
    if run.inputs is not None and path.exists():
        journal_beside(path).unlink(missing_ok=True)  # of a process that was killed before it could
        return load_table(path)
    if path.exists():
        try:
            table = load_table(path)
            table.require_origin(run.space.spec, run.device, precision=run.config.precision, name=str(path))
            require_own_certificate(table, run.space, name=str(path))
            return table
        except TableError:  # left by a request that proved impossible before the run began
            path.unlink()
            forget_extensions(path)
    _require_latencies(run)
    _require_in_reach(run)
    plan = plan_table(
        run.space,
        rounds=ROUNDS,
        num_networks=NUM_NETWORKS,
        batch=run.device.batch,
        precision=run.config.precision,
        seed=run.config.seed,
    )
    profiler = Profiler(device=run.device, rounds=ROUNDS, seed=run.config.seed)
    return profile_space(run.space, path, plan, profiler=profiler, reporter=run.reporter)


def _require_latencies(run: Run) -> None:
    if run.device.emulated and not run.config.trust.accept_any:
        raise RequestError(f"{run.device.name} is an emulator: its numbers are no latencies of a device; {OVERRIDE}")


def _require_in_reach(run: Run) -> None:
    """Raise RequestError for a budget in milliseconds that a few rounds of the smallest network show to be hopeless."""
    budgets = [Budget.parse(text).milliseconds for text in (run.config.max_latency, *run.config.budgets)]
    given = [ms for ms in budgets if ms is not None]
    if not given:
        return
    smallest = run.space.canonical(extreme_architecture(run.space, GraphCosts(run.space).macs, largest=False))
    if not run.space.depends_on_input(smallest):
        return
    path = network_in_precision(
        run.space, smallest, onnx_cache(), run.config.precision, batch=run.device.batch, opset=run.device.opset
    )
    with TemporaryDirectory() as scratch:
        takes_ms = measure_networks(
            {"smallest": path},
            run.device,
            Path(scratch) / "smallest.journal",
            rounds=ROUNDS_PER_RESTART,
            seed=run.config.seed,
            reporter=run.reporter,
        )["smallest"].latency_ms
    if takes_ms > OUT_OF_REACH * min(given):
        raise RequestError(
            f"no architecture under {format_ms(min(given))}: the network of fewest multiply-accumulates takes about "
            f"{format_ms(takes_ms)} on {run.device.name}; give a larger budget, or a share such as 60%"
        )


def _improved(run: Run, table: LatencyTable) -> LatencyTable:
    """Measure the run's own table on as long as it is not good enough and the time for it lasts."""
    path, trust = run.folder / OWN_TABLE, run.config.trust
    deadline = monotonic() + 60 * trust.extra_minutes
    for seed in range(run.config.seed + 1, run.config.seed + 1 + MOST_EXTENSIONS):
        doubt, minutes = _doubts(run, table), (deadline - monotonic()) / 60
        if doubt is None or minutes <= 0:
            break
        plan = extension_plan(table, run.space, num_networks=EXTRA_NETWORKS, seed=seed)
        if plan is None:  # it is in the table
            continue
        num_new = len(plan.networks) - len(table.networks)
        run.reporter.line(f"the table {doubt}. Measuring on, with {num_new} more networks, for up to {minutes:.1f} min")
        table = _extended(run, table, plan, minutes)
    forget_extensions(path)  # of tables that were written by a run that was killed before it could
    return table


def _extended(run: Run, table: LatencyTable, plan: TablePlan, minutes: float) -> LatencyTable:
    with shown(run.reporter, "profile", ROUNDS) as on_progress:
        return extend_table(
            table,
            run.space,
            run.folder / OWN_TABLE,
            plan,
            profiler=Profiler(
                device=run.device, rounds=ROUNDS, seed=plan.seed, max_minutes=minutes, on_progress=on_progress
            ),
            onnx_folder=onnx_cache(),
            on_export=lambda done, total: on_progress("export", done, total),
        )


def _timed(run: Run, table: LatencyTable, near_ms: float) -> Speed:
    """Measure how fast the machine is and write it down; a device that cannot be reached is no obstacle yet."""
    try:
        speed = time_references(run, table, near_ms)
    except MeasurementError as error:
        run.reporter.warn(f"cannot tell how fast {run.device.name} is now: {error}")
        return Speed()
    write_text(run.folder / SPEED, json.dumps({"table": identity(table), **asdict(speed)}) + "\n")
    return speed


def known_speed(run: Run, table: LatencyTable) -> Speed | None:
    """Return the speed that was measured before; None where none was, or that of another table."""
    record = speed_record(run)
    if record is not None and record["table"] == identity(table):
        return Speed(drift=record["drift"])
    # Runs of earlier versions did not measure it; theirs are over, and nothing is measured to look at them.
    return Speed() if (run.folder / "search" / "result.json").exists() else None
