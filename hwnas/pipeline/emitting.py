"""Architectures for budgets by what a search found out, without evaluating any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isinf

from hwnas.errors import RequestError
from hwnas.pipeline.latency import read_latency
from hwnas.pipeline.networks import hard_limits_of
from hwnas.pipeline.run import Run
from hwnas.quantities import Budget, budget_text, format_ms
from hwnas.search import GeneratorAgent
from hwnas.stages.latency import reachable_ms
from search_spaces import Architecture


@dataclass(frozen=True, kw_only=True, slots=True)
class Emitted:
    """An architecture for a budget; infinite where the budget rules nothing out.

    Attributes:
        elsewhere_ms: what it is predicted to take on the further devices of a fleet, by their names.
    """

    max_ms: float
    predicted_ms: float
    architecture: Architecture
    elsewhere_ms: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return what is printed, for scripts."""
        return {
            "budget_ms": None if isinf(self.max_ms) else self.max_ms,
            "predicted_ms": self.predicted_ms,
            **({"predicted_elsewhere_ms": dict(self.elsewhere_ms)} if self.elsewhere_ms else {}),
            "architecture": list(self.architecture),
        }

    def as_row(self) -> list[str]:
        """Return what is printed, for people."""
        predicted = [f"{ms:.4g}" for ms in (self.predicted_ms, *self.elsewhere_ms.values())]
        return [budget_text(self.max_ms), *predicted, "-".join(map(str, self.architecture))]


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
        found.append(
            Emitted(
                max_ms=max_ms,
                predicted_ms=latency.model.predict_one_ms(architecture),
                architecture=architecture,
                elsewhere_ms={m.name: m.latency.model.predict_one_ms(architecture) for m in latency.fleet},
            )
        )
    return found
