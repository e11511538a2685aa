"""What a run has found, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from torch import nn

from hwnas.api import checks
from hwnas.api.checks import File
from hwnas.api.data import NO_DATA
from hwnas.api.frames import frame
from hwnas.api.given import giving, reference
from hwnas.api.table import LatencyTable
from hwnas.artifacts import WINNER, Deployment, FoundNetwork, NetworkSummary, Summary
from hwnas.errors import RequestError
from hwnas.export.request import BundleOptions
from hwnas.front import latency_front
from hwnas.pipeline.deploying import deploy, require_deployable
from hwnas.pipeline.emitting import Emitted, emit
from hwnas.pipeline.further import Request, retrain_further, trained_network
from hwnas.pipeline.latency import kept_table
from hwnas.pipeline.networks import current_networks
from hwnas.pipeline.order import run_stages
from hwnas.pipeline.reporting import write_report
from hwnas.pipeline.run import Run
from hwnas.search import Evaluation
from onnx_models.box_limits import BoxLimits
from search_spaces import Architecture

if TYPE_CHECKING:
    import pandas as pd


class Evaluations(Sequence[Evaluation]):
    """Evaluated architectures, each with its score and its costs by name."""

    def __init__(self, evaluations: Sequence[Evaluation]) -> None:
        self._evaluations = tuple(evaluations)

    @overload
    def __getitem__(self, index: int) -> Evaluation: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Evaluation]: ...
    def __getitem__(self, index: int | slice) -> Evaluation | Sequence[Evaluation]:
        return self._evaluations[index]

    def __len__(self) -> int:
        return len(self._evaluations)

    def __iter__(self) -> Iterator[Evaluation]:
        return iter(self._evaluations)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each: architecture, score, and a column for every cost, such as latency_ms.

        Raises:
            RequestError: pandas is not installed.
        """
        names = list(dict.fromkeys(name for e in self._evaluations for name in e.costs))
        rows = [{"architecture": e.architecture, "score": e.score, **e.costs} for e in self._evaluations]
        return frame(rows, ["architecture", "score", *names])


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A network that a run has found.

    Attributes:
        name: winner, winner-5ms for the budget of that name, largest, random and so on.
        architecture: choice indices.
        score: by which the search ranked it.
        predicted_ms: by the table.
        measured_ms: as exported, or among the finalists where it is not exported; None where nothing was measured.
        max_latency_ms: the budget; None where it rules nothing out.
        accuracy: on the test images, after it was trained alone; None before.
        budget_kept: as measured; None where nothing was.
        onnx: the exported model; None before.
    """

    name: str
    architecture: Architecture
    score: float
    predicted_ms: float
    measured_ms: float | None
    max_latency_ms: float | None
    accuracy: float | None = None
    budget_kept: bool | None = None
    onnx: Path | None = None


class Result:
    """A run: what it has found so far, all of it in its folder.

    Args:
        run: whose folder is read.
        given: objects of the program that the run needs where it goes on.
    """

    def __init__(self, run: Run, given: Mapping[str, object]) -> None:
        self._run = run
        self._given = dict(given)

    def __repr__(self) -> str:
        return f"Result({str(self.folder)!r})"

    @property
    def folder(self) -> Path:
        """The run's folder, which every command takes."""
        return self._run.folder

    @property
    def summary(self) -> Summary | None:
        """All figures of a run that has exported its networks; None before."""
        return self._run.files.read_summary()

    @property
    def winner(self) -> Network:
        """The best network that keeps the budget.

        Raises:
            RequestError: the run has not searched yet.
        """
        return self.networks[WINNER]

    @property
    def networks(self) -> dict[str, Network]:
        """The winner, a winner for each further budget, and the references that they are compared with, by name.

        Raises:
            RequestError: the run has not searched yet.
        """
        files, summary = self._run.files, self.summary
        if summary is not None:
            return {name: _exported(name, row, files.export.model(name)) for name, row in summary.networks.items()}
        if not files.search.outcome.exists():
            raise RequestError(f"{self.folder} has not searched yet: expected a finished search; continue it")
        found = current_networks(self._run, files.search.read_outcome().networks)
        return {name: _found(name, network) for name, network in found.items()}

    @property
    def history(self) -> Evaluations:
        """Every architecture that the search evaluated, in order, each once."""
        return Evaluations(self._run.files.read_evaluations())

    @property
    def front(self) -> Evaluations:
        """The evaluated architectures that no other one beats in both score and predicted latency, fastest first."""
        return Evaluations(latency_front(self._run.files.read_evaluations()))

    @property
    def table(self) -> LatencyTable:
        """The latency table that the run predicts by."""
        with giving(self._given):
            return LatencyTable(kept_table(self._run), self._run.space, Path(self._run.table_name))

    @property
    def missed_budgets(self) -> list[str]:
        """A line of advice for every winner that does not keep its budget as measured."""
        summary = self.summary
        return [] if summary is None else summary.missed_budgets

    def module(self, name: str = WINNER) -> nn.Module:
        """Return a retrained network with its weights, in evaluation mode.

        Raises:
            RequestError: there is none of that name, or nothing is trained.
        """
        self._require_data("trained")
        name = checks.text("name", name, WINNER)
        with giving(self._given):
            return self._run.space.deployed(trained_network(self._run, name).module).eval()

    def report(self) -> Path:
        """Write the report, as far as the run is, and return its file."""
        with giving(self._given):
            return write_report(self._run)

    def retrain(
        self, architectures: Sequence[Architecture] = (), *, budgets: str | Sequence[str] = (), front: bool = False
    ) -> dict[str, NetworkSummary]:
        """Train further networks as the winner was, and return their figures by name.

        Args:
            budgets: for each of them the best network that the search evaluated, such as "5ms".
            front: all networks of the front too.

        Raises:
            RequestError: there is no such network, or none keeps a budget.
        """
        self._require_data("trained")
        limits, wanted = (
            checks.texts("budgets", budgets),
            checks.listed("architectures", architectures, "architectures"),
        )
        with giving(self._given):
            found = [self._run.space.validated(architecture) for architecture in wanted]  # type: ignore[arg-type]
            named = tuple("-".join(map(str, architecture)) for architecture in found)
            return retrain_further(self._run, Request(architectures=named, budgets=limits, front=front))

    def export(
        self,
        folder: File,
        *,
        network: str = WINNER,
        int8: bool = True,
        mixed: bool = False,
        fp16: bool | None = None,
        max_drop: float = 0.01,
        limits: Mapping[str, Any] | None = None,
    ) -> Deployment:
        """Write a network to a new folder: models, what they were proven by, and a program that runs them.

        Args:
            int8, fp16: whether to write the model in that precision too; None where the device computes in it.
            mixed: whether to choose int8 or float for each block too, by measuring it on the device.
            max_drop: of accuracy, from 0 to 1, that int8 and mixed precision may cost.
            limits: of detectors, min_score, max_iou and max_boxes.

        Returns:
            The content of deployment.json.

        Raises:
            RequestError: nothing is trained, there is no such network, the folder is there already or cannot be made,
                or the device cannot tell mixed precision.
            RunError: a model does not do what the trained network does.
        """
        place, name = checks.file("folder", folder), checks.text("network", network, WINNER)
        options = BundleOptions(
            int8=int8, mixed=mixed, fp16=fp16, max_drop=_share(max_drop), limits=_drawn(limits or {})
        )
        with giving(self._given):
            self._require_data("trained that could be exported")
            require_deployable(self._run, place, options, network=name)
            summary = run_stages(self._run)
            assert summary is not None, "of all stages"
            return deploy(self._run, summary, place, options, network=name)

    def emit(self, budgets: str | Sequence[str]) -> list[Emitted]:
        """Name an architecture for each budget by what the search found out, without evaluating any more.

        Raises:
            RequestError: a budget is larger than any that was searched.
        """
        with giving(self._given):
            return emit(self._run, checks.texts("budgets", budgets))

    def _require_data(self, done: str) -> None:
        if self._run.config.data.name == reference(NO_DATA):
            raise RequestError(
                f"{self.folder} searched without data, so that nothing is {done}: expected "
                "data; search(space, data, ...) with another folder"
            )


def _share(max_drop: object) -> float:
    """Return how much accuracy may drop, which the flag has in points.

    Raises:
        RequestError: it is no share.
    """
    found = checks.plain(max_drop)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1:
        raise RequestError(f"max_drop: expected a share of accuracy from 0 to 1, such as 0.01, got {max_drop!r}")
    return found


def _drawn(limits: Mapping[str, Any]) -> BoxLimits:
    """Return which boxes of detectors are given.

    Raises:
        RequestError: there is no such limit, or one is out of range.
    """
    known = [field.name for field in fields(BoxLimits)]
    if not isinstance(limits, Mapping) or set(limits) - set(known):
        raise RequestError(f"limits: expected some of {', '.join(known)} by name, got {limits!r}")
    whole = "max_boxes"
    numbers: dict[str, Any] = {name: checks.number(name, limit) for name, limit in limits.items() if name != whole}
    wholes = {name: checks.whole(name, limit) for name, limit in limits.items() if name == whole}
    return replace(BoxLimits(), **numbers, **wholes)


def _exported(name: str, row: NetworkSummary, model: Path) -> Network:
    return Network(
        name=name,
        architecture=row.architecture,
        score=row.supernet_score,
        predicted_ms=row.predicted_ms,
        measured_ms=row.measured_ms,
        max_latency_ms=row.max_latency_ms,
        accuracy=row.test_accuracy,
        budget_kept=row.budget_kept,
        onnx=model,
    )


def _found(name: str, network: FoundNetwork) -> Network:
    measured = None if network.finalist is None else network.finalist.latency_ms
    return Network(
        name=name,
        architecture=network.architecture,
        score=network.supernet_score,
        predicted_ms=network.predicted_ms,
        measured_ms=measured,
        max_latency_ms=network.max_ms,
        budget_kept=None if measured is None else measured <= network.max_ms,
    )
