"""The latency table of a run: given, or made for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.special import ndtr, ndtri

from hwnas.errors import RequestError
from hwnas.profiling import profile_space
from hwnas.quantities import Budget, format_ms
from hwnas.run import OWN_TABLE, Run
from hwnas.trust import describe_certificate, require_trust
from lut import LatencyModel, LatencyTable, TableError, load_table, plan_table
from profilers import Profiler

ROUNDS = 80
NUM_NETWORKS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Predictions for the run's space, and the budgets to be kept.

    Attributes:
        max_ms: the run's budget; winner and references keep it.
        more_ms: further budgets by their text, each with a winner of its own.
        margin: share of a budget that predictions may take, for the confidence asked for.
    """

    model: LatencyModel
    max_ms: float
    more_ms: Mapping[str, float]
    margin: float

    def probability(self, predicted_ms: float, max_ms: float) -> float | None:
        """That a network with that prediction keeps the budget, by the certificate's errors; None without one."""
        certificate = self.model.table.certificate
        if certificate is None:
            return None
        std = max(certificate.error_std, 1e-6)
        return float(ndtr((certificate.bias - (predicted_ms / max_ms - 1.0)) / std))


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
    return Latency(
        model=model,
        max_ms=reachable_ms(model, Budget.parse(run.config.max_latency)),
        more_ms={text: reachable_ms(model, Budget.parse(text)) for text in run.config.budgets},
        margin=_margin(table, run.config.search.confidence),
    )


def _margin(table: LatencyTable, confidence: float | None) -> float:
    """Predicted / measured - 1 is taken to be normal, with the certificate's bias and deviation."""
    if confidence is None:
        return 1.0
    certificate = table.certificate
    if certificate is None:
        raise RequestError("a confidence needs a table with a certificate; profile with --networks 50")
    return float(min(1.0, 1.0 + certificate.bias - ndtri(confidence) * certificate.error_std))


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


def reachable_ms(model: LatencyModel, budget: Budget) -> float:
    """The budget in milliseconds.

    Raises:
        RequestError: it is below the fastest or above the slowest architecture.
    """
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
