"""Searching the supernet, measuring the finalists, and choosing references to compare with."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from hwnas.artifacts import ORIGINAL, WINNER, FoundNetwork, SearchOutcome
from hwnas.callbacks import Callback
from hwnas.components import find
from hwnas.config import SearchConfig
from hwnas.constraint import HardLimits
from hwnas.errors import RunError
from hwnas.evaluators import Evaluator
from hwnas.evaluators.executor import in_this_process, on_ray
from hwnas.evaluators.score import Evaluate, Score
from hwnas.measured import Measured
from hwnas.progress import Work
from hwnas.quantities import ceil_ms, format_ms
from hwnas.search import Evaluation, EvolutionAgent, RandomAgent, SearchResult, pareto_front
from hwnas.search.beginning import BeginningWith
from hwnas.search.history import num_recorded
from hwnas.search.loop import run_search
from hwnas.stages.finalists import Finalists, Selection, latencies_elsewhere
from hwnas.stages.latency import Latency
from hwnas.stages.setup import Setup
from search_spaces import Architecture, SearchSpace
from search_spaces.cost import GraphCosts

SIZE_EVALUATIONS = 2000
"""Architectures tried when looking for the largest that fits; each costs a table look-up only."""


def find_networks(
    selection: Selection, config: SearchConfig, evaluator: Evaluator, known_to_agents: Mapping[str, object]
) -> SearchOutcome:
    """Find the winner, two references under the same budget, and a winner for every further budget.

    The references are the largest network that fits, and a random one.

    Args:
        known_to_agents: what the search agent is made with besides what all agents are, by keyword.

    Raises:
        RunError: no network keeps the budget as measured, not even the fastest.
    """
    if config.executor == "ray" and config.actors > config.generation:
        selection.setup.reporter.warn(
            f"search: {config.actors - config.generation} of {config.actors} actors will have nothing to do; "
            f"--set search.generation={config.actors} gives all of them work"
        )
    with (
        on_ray(evaluator, config.actors, config.ray_address)
        if config.executor == "ray"
        else nullcontext(in_this_process(evaluator))
    ) as evaluate:
        return _find_by(selection, config, _Remembering(evaluate), known_to_agents)


class _Remembering:
    """Searches of several budgets share what they evaluate to the end."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._known: dict[Architecture, Score] = {}

    def __call__(self, architectures: Sequence[Architecture], baselines: Sequence[Score | None]) -> Iterator[Score]:
        new = {a: r for a, r in zip(architectures, baselines, strict=True) if a not in self._known}
        fresh = self._evaluate(list(new), list(new.values()))
        for architecture in architectures:
            score = self._known.get(architecture) or next(fresh)
            if score.is_complete:
                self._known[architecture] = score
            yield score

    def scores(self, architectures: Sequence[Architecture]) -> list[float]:
        """Return the scores by all images."""
        return [s.value for s in self(architectures, [None] * len(architectures))]


def _find_by(
    selection: Selection, config: SearchConfig, evaluate: _Remembering, known_to_agents: Mapping[str, object]
) -> SearchOutcome:
    latency, setup = selection.latency, selection.setup
    budgets = {WINNER: latency.max_ms, **winner_names(latency.more_ms)}
    history: dict[Architecture, Evaluation] = {}
    for name, max_ms in budgets.items():
        result = _search(selection, config, evaluate, known_to_agents, name, max_ms, known=tuple(history.values()))
        history |= {e.architecture: e for e in result.history}
    finalists = {name: selection.finalists(name, max_ms) for name, max_ms in budgets.items()}
    winners = {name: _winner(selection, finalists[name], max_ms, evaluate) for name, max_ms in budgets.items()}
    networks = {name: (architecture, budgets[name]) for name, (architecture, *_) in winners.items()}
    networks |= _references(selection, slow_down=finalists[WINNER].slow_down)
    scores = dict(zip(networks, evaluate.scores([a for a, _ in networks.values()]), strict=True))
    costs = GraphCosts(setup.space)
    found = {}
    for name, (a, max_ms) in networks.items():
        finalist, elsewhere = winners[name][1:] if name in winners else (None, {})
        found[name] = described(a, costs, scores[name], latency, max_ms, finalist=finalist, elsewhere=elsewhere)
    return SearchOutcome(
        networks=found,
        finalists=finalists[WINNER].rows,
        finalists_of_budgets={name: own.rows for name, own in finalists.items() if name != WINNER},
        front=tuple(pareto_front([_by_latency(e) for e in history.values()])),
        num_evaluations=len(history),
    )


def _references(selection: Selection, *, slow_down: float) -> dict[str, tuple[Architecture, float]]:
    """Return the networks that the winner is compared with, and their budget, by name."""
    setup, latency = selection.setup, selection.latency
    constraint = selection.constraint.with_maximum("latency_ms", latency.limit_for(slow_down))
    random = RandomAgent(setup.space, constraint, setup.rng("reference")).ask(1)[0]
    if (original := setup.space.original) is None:
        return {"largest": (_largest(setup, constraint), latency.max_ms), "random": (random, latency.max_ms)}
    scaled = first_met(setup.space.scaled_alike(), constraint)
    references = {ORIGINAL: original, "scaled": scaled, "random": random}
    return {name: (a, latency.max_ms) for name, a in references.items() if a is not None}


def first_met(architectures: Sequence[Architecture], limits: HardLimits) -> Architecture | None:
    """Return the first of some architectures that keeps the limits; None where none does."""
    if not architectures:
        return None
    kept = limits.worst_share(np.array(architectures)) <= 1.0
    return architectures[int(kept.argmax())] if kept.any() else None


def _winner(
    selection: Selection, finalists: Finalists, max_ms: float, evaluate: _Remembering
) -> tuple[Architecture, Measured | None, Mapping[str, Measured]]:
    """Return the best finalist that keeps the budgets; where none does, the fastest network of the space is tried too.

    Where nothing can be measured it is the best that keeps them by prediction.
    """
    if not selection.setup.device.is_measurable:
        return finalists.best_by_prediction().architecture, None, {}
    if winner := finalists.best():
        return winner.architecture, winner.measured, winner.elsewhere
    fastest, _ = selection.latency.model.extreme()
    fastest = selection.setup.space.canonical(fastest)
    limits = selection.limits(max_ms)
    if limits.is_met(fastest) and all(f.architecture != fastest for f in finalists.measured):
        (score,) = evaluate.scores([fastest])
        finalists.add(Evaluation(architecture=fastest, score=score, costs=limits.costs(fastest)))
        if winner := finalists.best():
            return winner.architecture, winner.measured, winner.elsewhere
    if selection.latency.fleet:
        raise none_keeps_all(selection, finalists, max_ms)
    nearest, percentile = min(finalists.measured, key=lambda f: f.measured.latency_ms), selection.setup.percentile
    raise RunError(
        f"none of {len(finalists.measured)} networks keeps {format_ms(max_ms, percentile)} as measured; the fastest "
        f"takes {format_ms(nearest.measured.latency_ms, percentile)}: "
        f"{'-'.join(map(str, nearest.architecture))}; give a budget of "
        f"{format_ms(ceil_ms(nearest.measured.at_worst_ms))} or more"
    )


def none_keeps_all(selection: Selection, finalists: Finalists, max_ms: float) -> RunError:
    """Return that no network keeps the budgets of several devices as measured, with what each device allows."""
    latency, percentile, found = selection.latency, selection.setup.percentile, finalists.measured
    rows = [(latency.flag, selection.setup.device.name, max_ms, [f.measured for f in found])]
    rows += [
        (m.latency.flag, m.name, m.latency.max_ms, [f.elsewhere[m.name] for f in found if m.name in f.elsewhere])
        for m in latency.fleet
    ]
    told = [
        f"{name} {format_ms(most_ms, percentile)}, which {sum(m.latency_ms <= most_ms for m in measured)} keep (the "
        f"fastest takes {format_ms(min(m.latency_ms for m in measured), percentile)}; {flag})"
        for flag, name, most_ms, measured in rows
        if measured
    ]
    return RunError(
        f"none of {len(found)} networks keeps all budgets as measured: {'; '.join(told)}: give one of them more"
    )


def winner_names(more_ms: Mapping[str, float]) -> dict[str, float]:
    """Return what the winners of further budgets are called in files, with their budgets."""
    return {f"{WINNER}-{budget_name(text)}": ms for text, ms in more_ms.items()}


def budget_name(text: str) -> str:
    """Return what a budget is called in the names of files."""
    return re.sub(r"[^\w.]+", "", text.replace("%", "pct"))


def _by_latency(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, costs={"latency_ms": evaluation.costs["latency_ms"]})


def _search(
    selection: Selection,
    config: SearchConfig,
    evaluate: Evaluate,
    known_to_agents: Mapping[str, object],
    name: str,
    max_ms: float,
    *,
    known: Sequence[Evaluation],
) -> SearchResult:
    """Search under one budget, beginning with what the searches under other budgets found out."""
    setup, limits = selection.setup, selection.limits(max_ms)
    place = "search" if name == WINNER else f"search-{name}"
    agent = find("search-agent", config.agent)(setup.space, limits, setup.rng(place), **known_to_agents)
    if usable := [e for e in known if limits.is_met(e.architecture)]:
        agent.tell(usable)
    if first := _by_hand(setup.space, limits, {e.architecture for e in usable}):
        agent = BeginningWith(agent, first)
    history = selection.files.history(name)
    history.parent.mkdir(exist_ok=True)
    with setup.reporter.task(place, config.evaluations) as task:
        return run_search(
            agent,
            evaluate,
            limits.costs,
            history_path=history,
            num_evaluations=config.evaluations,
            generation_size=config.generation,
            stop_below=config.finalists if config.early_stopping else None,
            on_evaluation=_told(task, setup.reporter.callbacks, num_known=num_recorded(history)),
        )


def _by_hand(space: SearchSpace, limits: HardLimits, known: Collection[Architecture]) -> list[Architecture]:
    """Return what somebody would try first of the slices of an own network: itself, and all widths scaled alike."""
    if space.original is None:
        return []
    tried = [first_met([space.original], limits), first_met(space.scaled_alike(), limits)]
    return [a for a in dict.fromkeys(tried) if a is not None and a not in known]


def _told(task: Work, callbacks: Callback, *, num_known: int) -> Callable[[int, Evaluation], None]:
    """Return what shows the best score so far, and tells callbacks of evaluations that were not made before."""
    best = float("-inf")

    def tell(done: int, evaluation: Evaluation) -> None:
        nonlocal best
        best = max(best, evaluation.score)
        task.update(done, f"best {best:.4f}")
        if done > num_known:
            callbacks.on_candidate(evaluation.architecture, evaluation.score, evaluation.costs["latency_ms"])

    return tell


def _largest(setup: Setup, constraint: HardLimits) -> Architecture:
    """Return the network with the most multiply-accumulates that keeps the budget, as far as evolution finds it."""
    agent, costs = EvolutionAgent(setup.space, constraint, setup.rng("largest")), GraphCosts(setup.space)
    best: Evaluation | None = None
    for _ in range(SIZE_EVALUATIONS // 50):
        asked = agent.ask(50)
        if not asked:
            break
        macs = costs.macs(np.array(asked))
        evaluations = [Evaluation(architecture=a, score=float(m), costs={}) for a, m in zip(asked, macs, strict=True)]
        agent.tell(evaluations)
        best = max([*evaluations, *([best] if best else [])], key=lambda e: e.score)
    assert best is not None, "the search before this one found feasible architectures"
    return best.architecture


def described(
    architecture: Architecture,
    costs: GraphCosts,
    score: float,
    latency: Latency,
    max_ms: float,
    *,
    finalist: Measured | None,
    elsewhere: Mapping[str, Measured] = MappingProxyType({}),
) -> FoundNetwork:
    """Return what is known of a network that was found.

    Args:
        elsewhere: its latencies on the further devices of a fleet that it was measured on, by their names.
    """
    cost = costs.of(architecture)
    return FoundNetwork(
        architecture=architecture,
        params=cost.params,
        macs=cost.macs,
        supernet_score=score,
        predicted_ms=latency.model.predict_one_ms(architecture),
        max_ms=max_ms,
        finalist=finalist,
        fleet=latencies_elsewhere(latency.fleet, architecture, elsewhere),
    )
