"""The latency table of a run: given, or made for it."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import RequestError
from hwnas.profiling import profile_space
from hwnas.quantities import format_ms
from hwnas.run import Run
from lut import LatencyModel, load_table

ROUNDS = 60


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
    path = run.config.lut or run.folder / "lut.json"
    table = run.given_table
    if table is None:
        if path.exists():
            table = load_table(path)
        else:
            table = profile_space(
                run.space, run.device, path, rounds=ROUNDS, seed=run.config.seed, reporter=run.reporter
            )
    latency = Latency(model=LatencyModel(run.space, table, name=str(path)), max_ms=run.config.max_latency_ms)
    _require_reachable(latency)
    return latency


def _require_reachable(latency: Latency) -> None:
    (_, fastest_ms), (_, slowest_ms) = latency.model.extreme(), latency.model.extreme(slowest=True)
    if latency.max_ms < fastest_ms:
        raise RequestError(
            f"no architecture under {format_ms(latency.max_ms)}; the fastest of this space is {format_ms(fastest_ms)}"
        )
    if latency.max_ms > slowest_ms:
        raise RequestError(
            f"a budget of {format_ms(latency.max_ms)} rules nothing out; the slowest architecture of this space takes "
            f"{format_ms(slowest_ms)}, the fastest {format_ms(fastest_ms)}: give a budget in between"
        )
