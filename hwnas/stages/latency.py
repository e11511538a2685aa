"""The means by which a run predicts latencies, and the budgets to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hwnas.constraint import latency_on
from hwnas.errors import RequestError, RunError
from hwnas.measured import Measured
from hwnas.progress import Reporter
from hwnas.quantities import Budget, format_ms
from hwnas.stages.setup import Setup
from hwnas.stages.speed import Speed, references_of
from lut import LatencyModel, LatencyTable
from lut.certificate import Certificate
from lut.tails import Tail
from profilers import DeviceError, MeasurementError
from profilers.tails import MEDIAN
from search_spaces import Architecture

LONG_SHOT = 0.25
"""Networks are worth measuring that keep the budget with this probability, where a table is too poor to tell more: good
ones are let in, and among twice the finalists some keep it almost certainly."""

WIDEST = 1.3
"""Above this a budget would mostly be searched where nothing keeps it."""

ROUNDING = 1 + 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentModel:
    """A table's predictions, for the machine as it is now.

    Attributes:
        slow_down: how many times as long everything takes as when the table was made.
        tail: the percentile that latencies are, from the table's medians; None for the medians themselves.
    """

    then: LatencyModel
    slow_down: float = 1.0
    tail: Tail | None = None

    @property
    def table(self) -> LatencyTable:
        """The latency table that the predictions come from."""
        return self.then.table

    @property
    def percentile(self) -> int:
        """The percentile that latencies are."""
        return MEDIAN if self.tail is None else self.tail.percentile

    @property
    def certificate(self) -> Certificate | None:
        """The errors of predictions of that percentile on held-out networks; None where nobody knows."""
        return self.table.certificate if self.tail is None else self.tail.certificate

    def predict_ms(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return [num_architectures] milliseconds per forward pass."""
        then_ms = self.then.predict_ms(architectures)
        return self.slow_down * (then_ms if self.tail is None else self.tail.of_medians(then_ms))

    def predict_one_ms(self, architecture: Architecture) -> float:
        """Milliseconds per forward pass of one architecture."""
        return float(self.predict_ms(np.array([architecture]))[0])

    def extreme(self, *, slowest: bool = False) -> tuple[Architecture, float]:
        """Return the fastest (or slowest) architecture and its predicted milliseconds.

        The network of the longest median has the longest tail too, since tails grow with medians.
        """
        architecture, _ = self.then.extreme(slowest=slowest)
        return architecture, self.predict_one_ms(architecture)

    @property
    def whole_ms(self) -> float:
        """The latency that a share in a budget is of: the brought network's, else that of the slowest there is."""
        original = self.then.space.original
        return self.extreme(slowest=True)[1] if original is None else self.predict_one_ms(original)

    def median_of(self, ms: float) -> float:
        """Return the median of a network that takes so many milliseconds."""
        return ms if self.tail is None else self.slow_down * self.tail.median_of(ms / self.slow_down)


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Predictions for the run's space, and the budgets to be kept.

    Attributes:
        max_ms: the run's budget, which winner and references keep; infinite where it rules nothing out.
        more_ms: further budgets by their text, each with a winner of its own.
        speed: how fast the machine was before the search.
        margin: share of a budget that predictions may take, for the confidence asked for.
        search_margin: the same for networks that are measured before they are chosen; above 1 for poor tables.
        doubt: why the table is poor, if it is.
        flag: that gives the budget, as messages name it.
        fleet: further devices on which every network must keep a budget too.
    """

    model: CurrentModel
    speed: Speed
    max_ms: float
    more_ms: Mapping[str, float]
    margin: float
    search_margin: float
    doubt: str | None = None
    flag: str = "--max-latency"
    fleet: tuple[FleetMember, ...] = ()

    @property
    def near_ms(self) -> float:
        """About what networks take that are worth measuring, as a median."""
        return self.model.median_of(min(self.max_ms, self.model.extreme(slowest=True)[1]))

    @property
    def error(self) -> float:
        """Standard deviation of predictions around what is measured, relative."""
        certificate = self.model.certificate
        return 0.0 if certificate is None else certificate.error_std

    @property
    def limit_ms(self) -> float:
        """The predicted milliseconds that networks may take that are not measured before they are chosen."""
        limit_ms = self.max_ms * self.margin
        # By a poor table the fastest network may keep a budget that it is predicted to miss.
        return limit_ms if self.doubt is None else max(limit_ms, ROUNDING * self.model.extreme()[1])

    def limit_for(self, slow_down: float) -> float:
        """Return the same where networks turned out to take so many times as long as predicted; no more where less."""
        return min(self.limit_ms, max(self.limit_ms / slow_down, ROUNDING * self.model.extreme()[1]))

    def probability(self, predicted_ms: float, max_ms: float) -> float | None:
        """Return the probability that a network predicted so keeps the budget, by the certificate; None without one."""
        certificate = self.model.certificate
        if certificate is None:
            return None
        std = max(certificate.error_std, 1e-6)
        return float(ndtr((certificate.bias - (predicted_ms / max_ms - 1.0)) / std))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FleetMember:
    """A further device on which every network must keep a budget, and how it is measured there.

    Attributes:
        name: in the run; no two devices of a run have the same.
        setup: with that device.
        latency: by its own table; it has no further budgets.
        may_be_unmeasured: whether its budget is kept by prediction where it cannot be measured during the run.
        failures: why it could not be measured, once it could not: it is not tried again.
    """

    name: str
    setup: Setup
    latency: Latency
    may_be_unmeasured: bool
    failures: list[str] = field(default_factory=list)

    @property
    def cost(self) -> str:
        """The name of the latency there among costs."""
        return latency_on(self.name)

    @property
    def is_measured(self) -> bool:
        """Whether networks are measured there."""
        return self.setup.device.is_measurable and not self.failures

    def measured(self, networks: Mapping[str, Path], journal: Path, *, is_final: bool = False) -> dict[str, Measured]:
        """Return the latencies of networks there, by name; none where it cannot be measured and need not be.

        Args:
            is_final: they are handed out, so that their tail is told too.

        Raises:
            RunError: it cannot be measured, and its budget may not be kept by prediction.
        """
        if not self.is_measured:
            return {}
        latency = self.latency
        try:
            self.setup.reporter.line(f"measuring on {self.name}")
            references = references_of(self.setup, latency.model.table, latency.near_ms, latency.speed)
            return self.setup.measured(networks, journal, references=references, is_final=is_final)
        except (RunError, MeasurementError, DeviceError) as error:
            if not self.may_be_unmeasured:
                raise RunError(
                    f"{self.name} cannot be measured: {error}; continue with --resume when it can, or give "
                    "--allow-unmeasured too, which has its budget kept by prediction alone"
                ) from error
            self.failures.append(str(error))
            self.setup.reporter.warn(
                f"{self.name} cannot be measured: {error}; from here on its budget is kept by prediction alone"
            )
            return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyRequest:
    """The budgets that a request names, as people write them.

    Attributes:
        more: further budgets, each of which gets a winner of its own.
        confidence: of keeping the budget, that predictions leave room for; None for none.
    """

    max_latency: str
    more: tuple[str, ...] = ()
    confidence: float | None = None


def latency_of(
    then: LatencyModel,
    speed: Speed,
    request: LatencyRequest,
    *,
    tail: Tail | None = None,
    doubt: str | None,
    reporter: Reporter,
) -> Latency:
    """Return the predictions for the machine as it is now, and the budgets in milliseconds.

    Args:
        then: the table's predictions.
        tail: the percentile that budgets are held on; None for the median.
        doubt: why the table is poor, if it is.

    Raises:
        RequestError: a budget is below the fastest architecture, or a confidence is asked of a table without a
            certificate.
    """
    model = CurrentModel(then=then, slow_down=speed.slow_down, tail=tail)
    margin = confident_margin(model.certificate, request.confidence)
    widened = searching_margin(model.certificate) if doubt and request.confidence is None else margin

    def reachable(text: str) -> float:
        return reachable_ms(model, Budget.parse(text), reporter, leeway=max(1.0, widened))

    return Latency(
        model=model,
        speed=speed,
        max_ms=reachable(request.max_latency),
        more_ms={text: reachable(text) for text in request.more},
        margin=margin,
        search_margin=widened,
        doubt=doubt,
    )


def confident_margin(certificate: Certificate | None, confidence: float | None) -> float:
    """Return the share of a budget that predictions may take.

    Raises:
        RequestError: a confidence is asked for, and the table has no certificate.
    """
    if confidence is None:
        return 1.0
    if certificate is None:
        raise RequestError("a confidence needs a table with a certificate; profile with --networks 50")
    return min(1.0, _share(certificate, confidence))


def searching_margin(certificate: Certificate | None) -> float:
    """Return the share of a budget up to which networks are worth measuring by a poor table."""
    return 1.0 if certificate is None else float(np.clip(_share(certificate, LONG_SHOT), 1.0, WIDEST))


def _share(certificate: Certificate, probability: float) -> float:
    """Predicted / measured - 1 is taken to be normal, with the certificate's bias and deviation."""
    return float(1.0 + certificate.bias - ndtri(probability) * certificate.error_std)


def reachable_ms(model: CurrentModel, budget: Budget, reporter: Reporter, *, leeway: float = 1.0) -> float:
    """Return the budget in milliseconds; says where every network keeps it.

    A share is of what the slowest network takes now: how fast the machine was when the table was made does not matter.
    Where a network was brought it is of what that takes, and all of it is no limit at all, so that the network cannot
    miss it by an error of prediction or of measurement.

    Args:
        leeway: how many times the budget predictions may be.

    Raises:
        RequestError: it is below the fastest architecture.
    """
    (_, fastest_ms), (_, slowest_ms) = model.extreme(), model.extreme(slowest=True)
    if model.then.space.original is not None and budget.share == 1:
        return inf
    max_ms = budget.resolve_ms(model.whole_ms)
    if leeway * max_ms < fastest_ms:
        raise RequestError(
            f"no architecture under {format_ms(max_ms, model.percentile)}; the fastest of this space is "
            f"{format_ms(fastest_ms, model.percentile)}"
        )
    if max_ms > slowest_ms:
        reporter.line(
            f"a budget of {format_ms(max_ms, model.percentile)} rules nothing out: the slowest network of this space "
            f"takes {format_ms(slowest_ms, model.percentile)}, the fastest {format_ms(fastest_ms, model.percentile)}"
        )
    return max_ms
