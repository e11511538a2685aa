"""The summary of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.artifacts.fleet import DeviceSummary
from hwnas.artifacts.found import ORIGINAL, WINNER
from hwnas.quantities import BUDGET_KEPT, MEDIAN, budget_text
from hwnas.records import READ_IN_PART, Count
from onnx_models.image_size import ImageSize
from onnx_models.parity import Parity
from search_spaces import Architecture
from search_spaces.space import SpecValue

_NotNegative = Annotated[float, Field(ge=0)]
_OF_MEASUREMENTS = ("measured_table_ms", "repeatability", "drift", "p50_ms", "p95_ms", "p99_ms", "float_ms")


def duplicate_names(architectures: Mapping[str, Architecture]) -> dict[str, str]:
    """Return the names of networks whose architecture is that of one before them, and the name of that one.

    A network as it was brought is never the same as one that was trained here.
    """
    first: dict[Architecture, str] = {}
    trained = {name: architecture for name, architecture in architectures.items() if name != ORIGINAL}
    names = {name: first.setdefault(architecture, name) for name, architecture in trained.items()}
    return {name: other for name, other in names.items() if other != name}


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class NetworkSummary:
    """A network's figures.

    Attributes:
        input_size: of the images that it takes; None where it is the space's.
        epoch: whose weights it has, counted from one.
        validation_score: by which the epoch was chosen, if it was.
        predicted_ms: of the percentile that the budget is held on, as `measured_ms` and `max_latency_ms` are.
        measured_ms: None where nothing can be measured; so are the others of the measurement then.
        measured_table_ms: at the speed that the machine had when the table was made; None where that is unknown.
        p50_ms, p95_ms, p99_ms: percentiles of single runs; None where there are too few runs to tell.
        percentile: that the budget is held on: 50 for the median.
        float_ms: what the network takes in float, where budgets are held in int8; None for references.
        budget_kept: as measured; where nothing was, None for one that is kept by prediction.
        max_latency_ms: None where the budget rules nothing out.
        advice: what to do about a budget that is not kept.
        fleet: its figures on the further devices of a fleet, by their names.
    """

    architecture: Architecture
    choices: tuple[str, ...]
    input_size: ImageSize | None = None
    params: Count
    macs: Count
    supernet_score: Annotated[float, Field(allow_inf_nan=True)]
    epoch: Count | None = None
    validation_score: float | None = None
    test_accuracy: float
    test_metrics: Annotated[dict[str, float], Field(min_length=1)]
    predicted_ms: _NotNegative
    measured_ms: _NotNegative | None
    measured_table_ms: float | None = None
    repeatability: float | None = None
    drift: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    percentile: int = MEDIAN
    float_ms: float | None = None
    budget_kept: bool | None
    max_latency_ms: _NotNegative | None
    advice: str | None = None
    fleet: dict[str, DeviceSummary] = Field(default_factory=dict)

    @property
    def keeps_all(self) -> bool:
        """Whether the budget is kept as measured on the first device, and none is missed on any other."""
        return bool(self.budget_kept) and all(row.budget_kept is not False for row in self.fleet.values())

    @property
    def metric(self) -> str:
        """The name of the score in this task, as people read it."""
        return next(iter(self.test_metrics)).replace("_", " ")

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files: what belongs to a measurement only where there is one."""
        fields = asdict(self)
        left_out = _OF_MEASUREMENTS if self.measured_ms is None else ()
        if self.input_size is None:
            left_out = ("input_size", *left_out)
        if not self.fleet:
            left_out = ("fleet", *left_out)
        return {name: value for name, value in fields.items() if name not in left_out}


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class Summary(NetworkSummary):
    """The winner's figures, those of the other networks, and what they are of.

    Attributes:
        parity: of the winner's model with the trained network.
        space: the fields of the search space's spec.
        mean, std: of each channel of the training images.
        references: by name.
        winners: of further budgets, by name.
    """

    parity: Parity
    device: str
    space: dict[str, SpecValue] = Field(default_factory=dict)
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    seed: int = 0
    references: dict[str, NetworkSummary]
    winners: dict[str, NetworkSummary]
    version: Literal[1] = 1

    @property
    def networks(self) -> dict[str, NetworkSummary]:
        """The figures of every network by its name, the winner's first, and then those of what somebody brought."""
        brought = {name: row for name, row in self.references.items() if name == ORIGINAL}
        return {WINNER: self, **brought, **self.winners, **self.references}

    @property
    def devices(self) -> dict[str, DeviceSummary]:
        """The winner's figures on every device, the first one's first."""
        first = DeviceSummary(
            max_latency_ms=self.max_latency_ms,
            predicted_ms=self.predicted_ms,
            measured_ms=self.measured_ms,
            budget_kept=self.budget_kept,
        )
        return {self.device: first, **self.fleet}

    @property
    def device_rows(self) -> list[tuple[str, str, str, str, str]]:
        """Device, budget, predicted and measured milliseconds, and whether the budget is kept: the texts of a table."""
        return [
            (
                name,
                budget_text(row.max_latency_ms),
                f"{row.predicted_ms:.4g}",
                "not measured" if row.measured_ms is None else f"{row.measured_ms:.4g}",
                BUDGET_KEPT[row.budget_kept],
            )
            for name, row in self.devices.items()
        ]

    @property
    def duplicates(self) -> dict[str, str]:
        """The names of networks whose architecture is that of one before them, and the name of that one."""
        return duplicate_names({name: row.architecture for name, row in self.networks.items()})

    @property
    def better_reference(self) -> str | None:
        """The most accurate reference that beats the winner and keeps the budget as measured; None where none does."""
        better = {
            name: row.test_accuracy
            for name, row in self.references.items()
            if row.keeps_all and row.test_accuracy > self.test_accuracy
        }
        return max(better, key=better.__getitem__) if better else None

    def offer(self, folder: str) -> str | None:
        """Return one line on a reference that is better than the winner, and the command that ships it.

        Args:
            folder: of the run, as the command names it.
        """
        if (name := self.better_reference) is None:
            return None
        accuracies = f"{self.references[name].test_accuracy:.2%} against {self.test_accuracy:.2%}"
        return (
            f"{name} is more accurate than the winner ({accuracies}) and keeps the budget as measured; "
            f"hwnas export {folder} --network {name} -o DIR ships it"
        )

    @property
    def slower_in_int8(self) -> list[str]:
        """A line for each winner that takes longer in int8, in which it keeps its budget, than in float."""
        rows = {WINNER: self, **self.winners}
        return [
            f"{name} is slower in int8 than in float on {self.device}, {row.measured_ms:.4g} against "
            f"{row.float_ms:.4g} ms: deploy it in float; hwnas export tells what int8 does to its accuracy"
            for name, row in rows.items()
            if row.float_ms is not None and row.measured_ms is not None and row.measured_ms > row.float_ms
        ]

    @property
    def missed_budgets(self) -> list[str]:
        """A line of advice for each winner that does not keep its budget."""
        return [row.advice for row in (self, *self.winners.values()) if row.advice]

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        rows = {
            "references": {name: row.as_dict() for name, row in self.references.items()},
            "winners": {name: row.as_dict() for name, row in self.winners.items()},
        }
        return {**NetworkSummary.as_dict(self), **rows}
