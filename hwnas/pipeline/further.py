"""Networks of a run besides its winners and references: trained as those were, and kept under names of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from hwnas.artifacts import FoundNetwork, NetworkSummary, RetrainedNetwork, TrainedSupernet
from hwnas.errors import RequestError, RunError
from hwnas.evaluators import make_evaluator
from hwnas.evaluators.executor import in_this_process
from hwnas.front import fleet_front
from hwnas.pipeline.keeping import opened
from hwnas.pipeline.latency import read_latency
from hwnas.pipeline.named import latency_of, require_name
from hwnas.pipeline.networks import (
    current_networks,
    exporter_of,
    found_networks,
    hard_limits_of,
    require_of_space,
    retrained_networks,
    selection_of,
    supernet_of,
    wanted_networks,
)
from hwnas.pipeline.order import is_finished, run_stages
from hwnas.pipeline.reporting import write_report
from hwnas.pipeline.run import Run
from hwnas.pipeline.run_times import timed
from hwnas.pipeline.tracking import tracked
from hwnas.progress import Reporter
from hwnas.quantities import Budget, ceil_ms, format_ms
from hwnas.search import Evaluation
from hwnas.stages.export import write_model
from hwnas.stages.finalists import Finalist, Selection
from hwnas.stages.latency import Latency, reachable_ms
from hwnas.stages.search import budget_name, described, none_keeps_all
from hwnas.stages.summary import figures
from safe_files import replacing
from search_spaces import Architecture
from search_spaces.cost import GraphCosts


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The networks that are asked for.

    Attributes:
        architectures: as they are printed, 0-1-1-0.
        budgets: latencies, for each of which the best network is wanted that the search evaluated and that keeps it.
        front: whether all networks are wanted that no other evaluated one beats in both score and latency.
    """

    architectures: tuple[str, ...] = ()
    budgets: tuple[str, ...] = ()
    front: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether it names no network."""
        return not (self.architectures or self.budgets or self.front)


def retrain_further(run: Run, request: Request) -> dict[str, NetworkSummary]:
    """Train the networks that are asked for, once the run has retrained its own; what is done is only read.

    An architecture that is there under another name is not trained again.

    Returns:
        The networks' figures, by name.

    Raises:
        RequestError: there is no such network, or the search looked at none that keeps a budget.
        RunError: none keeps a budget as measured, or a network cannot be exported.
    """
    with tracked(run):
        return _retrained_further(run, request)


def _retrained_further(run: Run, request: Request) -> dict[str, NetworkSummary]:
    architectures = [_parsed(run, text) for text in request.architectures]
    if request.budgets:
        _require_possible(run, request.budgets)
    run_stages(run, last="retrain")
    if os.environ.get("RANK", "0") != "0":
        return {}  # the first process of torchrun does all but the supernet
    with opened(run), nullcontext() if is_finished(run) else timed(run):
        searched = _SearchedRun.of(run)
        asked = _asked(searched, architectures, request)
        run.files.search.write_further({**run.files.search.read_further(), **asked})
        retrained = searched.trained({network.architecture for network in asked.values()})
        _export(searched, retrained)
        if run.files.report.exists():
            write_report(run)
        return {name: _row(run, network, retrained[name]) for name, network in asked.items()}


def _row(run: Run, found: FoundNetwork, retrained: RetrainedNetwork) -> NetworkSummary:
    measured = latency_of(run.files, found)
    return figures(run.space, found, retrained.test_metrics, measured, epoch=retrained.epoch)


def trained_network(run: Run, name: str) -> RetrainedNetwork:
    """Return the retrained network of that name of a finished run.

    Raises:
        RequestError: there is none of that name.
    """
    require_name(run.files, name)
    with opened(run):
        searched = _SearchedRun.of(run)
        return searched.trained({searched.known()[name].architecture})[name]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _SearchedRun:
    """A run that has searched, with what further networks of it are chosen by and trained with."""

    run: Run
    latency: Latency
    selection: Selection
    supernet: TrainedSupernet

    @classmethod
    def of(cls, run: Run) -> _SearchedRun:
        """Return a run with its latencies, its limits and its trained supernet."""
        latency = read_latency(run)
        constraint = hard_limits_of(run, latency)
        supernet = supernet_of(run, constraint)
        return cls(
            run=run,
            latency=latency,
            selection=selection_of(run, latency, constraint, supernet),
            supernet=supernet,
        )

    def known(self) -> dict[str, FoundNetwork]:
        """Return the run's own networks, and after them the further ones."""
        run, further = self.run, self.run.files.search.read_further()
        require_of_space(run, [network.architecture for network in further.values()], run.files.search.further)
        own = current_networks(run, found_networks(run, self.selection, self.supernet))
        return {**wanted_networks(run, own), **further}

    def trained(self, architectures: set[Architecture]) -> dict[str, RetrainedNetwork]:
        """Return the networks of these architectures under all their names, trained under the first of them."""
        same = {name: network for name, network in self.known().items() if network.architecture in architectures}
        return retrained_networks(self.run, same, self.supernet)

    def score(self, architecture: Architecture) -> float:
        """Return the score of an architecture that the search did not evaluate."""
        evaluator = make_evaluator(self.run.config.search.evaluator, self.run.evaluator_inputs(self.supernet.module))
        (score,) = in_this_process(evaluator)([architecture], [None])
        return score.value

    def described(
        self, architecture: Architecture, score: float, max_ms: float, finalist: Finalist | None = None
    ) -> FoundNetwork:
        """Return what is known of a network."""
        return described(
            architecture,
            GraphCosts(self.run.space),
            score,
            self.latency,
            max_ms,
            finalist=None if finalist is None else finalist.measured,
            elsewhere={} if finalist is None else finalist.elsewhere,
        )


def _parsed(run: Run, text: str) -> Architecture:
    try:
        choices = tuple(int(part) for part in text.split("-"))
    except ValueError as error:
        raise RequestError(f"expected an architecture as it is printed, such as 0-1-1-0, got {text!r}") from error
    if len(choices) != (num := len(run.space.decisions)):
        raise RequestError(
            f"{text}: expected {num} choices, one for each decision of {run.spec.name}, got {len(choices)}"
        )
    return run.space.canonical(run.space.validated(choices))


def _asked(searched: _SearchedRun, architectures: Sequence[Architecture], request: Request) -> dict[str, FoundNetwork]:
    """Return the networks that are asked for, by name; those that were asked for before stay as they were chosen."""
    evaluations = searched.run.files.read_evaluations()
    found: dict[str, FoundNetwork] = {}
    before, scores = searched.run.files.search.read_further(), {e.architecture: e.score for e in evaluations}
    front = [e.architecture for e in fleet_front(evaluations)] if request.front else []
    for architecture in (*architectures, *front):
        name = "network-" + "-".join(map(str, architecture))
        if name in before:
            found[name] = before[name]
        elif name not in found:
            score = scores[architecture] if architecture in scores else searched.score(architecture)
            found[name] = searched.described(architecture, score, searched.latency.max_ms)
    for text in request.budgets:
        name = _budget_network(text)
        found[name] = before.get(name) or _best_within(searched, name, text, evaluations)
    return found


def _require_possible(run: Run, budgets: Sequence[str]) -> None:
    """Raise RequestError for a budget that no network of the run keeps, as far as is known before any work is done."""
    latency, reporter = read_latency(run), Reporter(is_quiet=True)
    selection = selection_of(run, latency, hard_limits_of(run, latency))
    evaluations = run.files.read_evaluations() if run.files.search.outcome.exists() else None
    before = run.files.search.read_further()
    for text in budgets:
        if _budget_network(text) not in before:
            _limit_ms(run, selection, text, evaluations, reporter)


def _limit_ms(
    run: Run, selection: Selection, text: str, evaluations: Sequence[Evaluation] | None, reporter: Reporter
) -> float:
    """Return a budget in milliseconds.

    Args:
        evaluations: all of the search; None while it is not over.

    Raises:
        RequestError: it is above what the search looked at, or no network that it evaluated keeps it.
    """
    latency = selection.latency
    leeway, percentile = max(1.0, latency.search_margin), run.config.percentile
    max_ms = reachable_ms(latency.model, Budget.parse(text), reporter, leeway=leeway)
    most_ms, limits = max([latency.max_ms, *latency.more_ms.values()]), selection.limits(max_ms)
    if max_ms > most_ms:
        raise RequestError(
            f"the search looked at networks of at most {format_ms(most_ms, percentile)}; it cannot tell which is best "
            f"under {format_ms(max_ms, percentile)}: give a smaller budget, or {_anew(run, text)}"
        )
    if evaluations is not None and not any(limits.is_met(e.architecture) for e in evaluations):
        raise RequestError(
            f"none of the {len(evaluations)} networks that the search evaluated keeps {format_ms(max_ms, percentile)}; "
            f"{_anew(run, text)}"
        )
    return max_ms


def _anew(run: Run, text: str) -> str:
    """Return what to do for another budget than the search was for."""
    return f"search anew: hwnas search --from {run.folder} --max-latency {text} --out NEW"


def _budget_network(text: str) -> str:
    """Return the name of the best network within a budget."""
    return f"budget-{budget_name(text)}"


def _best_within(searched: _SearchedRun, name: str, text: str, evaluations: Sequence[Evaluation]) -> FoundNetwork:
    """Return the best evaluated network that keeps a budget as measured; by prediction where nothing can be."""
    run, selection = searched.run, searched.selection
    max_ms = _limit_ms(run, selection, text, evaluations, run.reporter)
    finalists = selection.finalists(name, max_ms)
    if not run.device.is_measurable:
        best = finalists.best_by_prediction()
        return searched.described(best.architecture, best.score, max_ms)
    if (finalist := finalists.best()) is None:
        if selection.latency.fleet:
            raise none_keeps_all(selection, finalists, max_ms)
        nearest = min((f.measured for f in finalists.measured), key=lambda measured: measured.latency_ms)
        raise RunError(
            f"none of {len(finalists.measured)} networks keeps {format_ms(max_ms, run.config.percentile)} as measured; "
            "give a budget of "
            f"{format_ms(ceil_ms(nearest.at_worst_ms))} or more, or {_anew(run, text)}"
        )
    return searched.described(finalist.architecture, finalist.evaluation.score, max_ms, finalist)


def _export(searched: _SearchedRun, retrained: dict[str, RetrainedNetwork]) -> None:
    """Write the models of further networks that have none yet; a network of several names has one."""
    run, known = searched.run, searched.known()
    first: dict[Architecture, str] = {}
    for name in retrained:
        first.setdefault(known[name].architecture, name)
    for name in first.values():
        path = run.files.export.model(name)
        if name in run.files.search.read_further() and not path.exists():
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as draft:
                write_model(exporter_of(run, searched.latency), retrained[name], draft)
