"""The networks that a search found."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isinf
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from hwnas.artifacts.fleet import DeviceLatency
from hwnas.measured import Measured
from hwnas.records import Count
from hwnas.search import Evaluation
from search_spaces import Architecture

_WITH_INFINITE_SCORES = ConfigDict(extra="ignore", populate_by_name=True)

WINNER = "winner"
"""The name of the network that keeps the run's first budget."""

ORIGINAL = "original"
"""The name of the network that somebody brought, as it was."""

REFERENCES = (ORIGINAL, "scaled", "largest", "random")
"""The names of the networks that a winner is compared with: the one that somebody brought, that with all widths scaled
alike, the largest that keeps the budget, and a random one that does."""

NUM_TRAINED_REFERENCES = 2
"""References of a run that are trained: what is scaled alike or the largest, and a random one."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_WITH_INFINITE_SCORES)
class FoundNetwork:
    """A network to be retrained, with what is known of it so far.

    Attributes:
        supernet_score: by the search's evaluator.
        max_ms: the latency budget that it is to keep; infinite where that rules nothing out.
        finalist: its latency as it was measured after the search; None for networks that were not.
        fleet: its latencies on the further devices of a fleet, by their names.
    """

    architecture: Architecture
    params: Count
    macs: Count
    supernet_score: float
    predicted_ms: Annotated[float, Field(allow_inf_nan=False)]
    max_ms: Annotated[float, BeforeValidator(lambda ms: inf if ms is None else ms), Field(gt=0)]
    finalist: Measured | None = None
    fleet: dict[str, DeviceLatency] = Field(default_factory=dict)

    def missed_on(self, elsewhere: Mapping[str, Measured]) -> list[str]:
        """Return the further devices on which it takes longer than its budget.

        Args:
            elsewhere: its latencies on those that it was measured on, by their names.
        """
        return [device for device, there in elsewhere.items() if there.latency_ms > self.fleet[device].max_ms]

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files: what there may be only where it is."""
        fields: dict[str, object] = {
            "architecture": list(self.architecture),
            "params": self.params,
            "macs": self.macs,
            "supernet_score": self.supernet_score,
            "predicted_ms": self.predicted_ms,
            "max_ms": None if isinf(self.max_ms) else self.max_ms,
        }
        if self.finalist is not None:
            fields["finalist"] = self.finalist.as_dict()
        return fields | _by_device(self.fleet)


def _by_device(fleet: Mapping[str, DeviceLatency]) -> dict[str, object]:
    """Return latencies on further devices as they are written to files; nothing where there are none."""
    return {"fleet": {name: latency.as_dict() for name, latency in fleet.items()}} if fleet else {}


@dataclass(frozen=True, kw_only=True, slots=True, config=_WITH_INFINITE_SCORES)
class MeasuredFinalist(Measured):
    """A network of the search that was measured before a winner was named.

    Attributes:
        repeatability: none in records of earlier versions.
        probability_within_budget: of keeping the budget by its prediction alone; None without a certificate.
        fleet: its latencies on the further devices of a fleet, by their names.
    """

    repeatability: Annotated[float, Field(ge=0)] = 0.0
    architecture: Architecture
    score: float
    costs: dict[str, float]
    probability_within_budget: float | None = None
    fleet: dict[str, DeviceLatency] = Field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        return {
            "architecture": list(self.architecture),
            "score": self.score,
            "costs": self.costs,
            **Measured.as_dict(self),
            "probability_within_budget": self.probability_within_budget,
            **_by_device(self.fleet),
        }


@dataclass(frozen=True, kw_only=True, slots=True, config=_WITH_INFINITE_SCORES)
class SearchOutcome:
    """The outcome of the searches of a run: what is to be retrained, and what led there.

    Attributes:
        networks: the winner, its references and the winners of further budgets, by name.
        finalists: the networks that were measured for the winner.
        finalists_of_budgets: the same for the winners of further budgets, by name.
        front: the evaluations that no other beats in both score and predicted latency.
    """

    networks: dict[str, FoundNetwork]
    finalists: tuple[MeasuredFinalist, ...] = ()
    finalists_of_budgets: dict[str, tuple[MeasuredFinalist, ...]] = Field(default_factory=dict)
    front: tuple[Evaluation, ...] = ()
    num_evaluations: Count = 0
    version: Literal[1] = 1

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        return {
            "networks": {name: network.as_dict() for name, network in self.networks.items()},
            "finalists": [finalist.as_dict() for finalist in self.finalists],
            "finalists_of_budgets": {n: [f.as_dict() for f in fs] for n, fs in self.finalists_of_budgets.items()},
            "front": [evaluation.as_dict() for evaluation in self.front],
            "num_evaluations": self.num_evaluations,
            "version": self.version,
        }


@dataclass(frozen=True, kw_only=True, slots=True, config=_WITH_INFINITE_SCORES)
class FurtherNetworks:
    """The networks of a run that were asked for after its search, by name, in the order in which they were."""

    networks: dict[Annotated[str, Field(pattern=r"^(network|budget)-[\w.-]+$")], FoundNetwork] = Field(
        default_factory=dict
    )
    version: Literal[1] = 1

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        networks = {name: network.as_dict() for name, network in self.networks.items()}
        return {"networks": networks, "version": self.version}
