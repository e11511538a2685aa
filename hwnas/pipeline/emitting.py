"""Architectures for budgets by what a search found out, without evaluating any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf

from hwnas.errors import RequestError
from hwnas.pipeline.latency import read_latency
from hwnas.pipeline.networks import hard_limits_of
from hwnas.pipeline.run import Run
from hwnas.quantities import Budget, format_ms
from hwnas.search import GeneratorAgent
from hwnas.stages.latency import reachable_ms
from search_spaces import Architecture


@dataclass(frozen=True, kw_only=True, slots=True)
class Emitted:
    """An architecture for a budget; infinite where the budget rules nothing out."""

    max_ms: float
    predicted_ms: float
    architecture: Architecture

    def as_dict(self) -> dict[str, object]:
        """Return what is printed, for scripts."""
        return {
            "budget_ms": None if isinf(self.max_ms) else self.max_ms,
            "predicted_ms": self.predicted_ms,
            "architecture": list(self.architecture),
        }


def emit(run: Run, budgets: Sequence[str]) -> list[Emitted]:
    """Return an architecture for each budget, by the evaluations of a run's search.

    Args:
        budgets: latencies such as 5ms, or shares of the slowest such as 40%.

    Raises:
        RequestError: the run has not searched, or looked at no networks as slow as a budget.
    """
    history = run.files.read_evaluations()
    run.space.as_array([e.architecture for e in history])
    latency, percentile = read_latency(run), run.config.percentile
    largest_ms = max([latency.max_ms, *latency.more_ms.values()])
    limits = hard_limits_of(run, latency).with_maximum("latency_ms", largest_ms * latency.margin)
    agent = GeneratorAgent(run.space, limits, run.rng("emit"))
    agent.tell(history)
    found = []
    for text in budgets:
        max_ms = reachable_ms(latency.model, Budget.parse(text), run.reporter)
        if max_ms > largest_ms:
            raise RequestError(
                f"the search looked at networks of at most {format_ms(largest_ms, percentile)}; it cannot tell which "
                f"is best under {format_ms(max_ms, percentile)}: give a smaller budget, or search again with a larger "
                "one"
            )
        architecture = agent.emit(limits.with_maximum("latency_ms", max_ms * latency.margin))
        predicted_ms = latency.model.predict_one_ms(architecture)
        found.append(Emitted(max_ms=max_ms, predicted_ms=predicted_ms, architecture=architecture))
    return found
