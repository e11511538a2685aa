"""The latency table of a run: given, or made for it."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import RequestError
from hwnas.profiling import profile_space
from hwnas.quantities import Budget, format_ms
from hwnas.run import Run
from hwnas.trust import describe_certificate, require_trust
from lut import LatencyModel, LatencyTable, TableError, load_table, plan_table
from profilers import Profiler

ROUNDS = 80
NUM_NETWORKS = 50
OWN_TABLE = "lut.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Predictions for the run's space, and the budget to be kept."""

    model: LatencyModel
    max_ms: float


def prepare_latency(run: Run) -> Latency:
    """Load the table, or profile the space on the device first where none is given.

    Raises:
        RequestError: the budget is below the fastest or above the slowest architecture.
        TableError: the table does not fit the space.
    """
    table = run.given_table or _own_table(run)
    require_trust(table, run.config.trust, name=str(run.config.lut or run.folder / OWN_TABLE))
    if table.provenance.precision != run.config.precision:
        raise RequestError(
            f"{run.config.lut} holds {table.provenance.precision} latencies, but --precision is {run.config.precision}"
        )
    run.reporter.line(describe_certificate(table))
    model = LatencyModel(run.space, table, name=str(run.config.lut or run.folder / OWN_TABLE))
    return Latency(model=model, max_ms=_reachable_ms(model, Budget.parse(run.config.max_latency)))


def _own_table(run: Run) -> LatencyTable:
    """The table made for this run; made now unless it is there already."""
    path = run.folder / OWN_TABLE
    if path.exists():
        try:
            table = load_table(path)
            table.require_origin(run.space.spec, run.device, precision=run.config.precision, name=str(path))
            return table
        except TableError:  # left by a request that proved impossible before the run began
            path.unlink()
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


def _reachable_ms(model: LatencyModel, budget: Budget) -> float:
    (_, fastest_ms), (_, slowest_ms) = model.extreme(), model.extreme(slowest=True)
    max_ms = budget.resolve_ms(slowest_ms)
    if max_ms < fastest_ms:
        raise RequestError(
            f"no architecture under {format_ms(max_ms)}; the fastest of this space is {format_ms(fastest_ms)}"
        )
    if max_ms > slowest_ms:
        raise RequestError(
            f"a budget of {format_ms(max_ms)} rules nothing out; the slowest architecture of this space takes "
            f"{format_ms(slowest_ms)}, the fastest {format_ms(fastest_ms)}: give a budget in between"
        )
    return max_ms
