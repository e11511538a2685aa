"""Searching the supernet, measuring the finalists, and choosing references to compare with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict  # pydantic reads Python's own from 3.12 on only

from hwnas.errors import RunError
from hwnas.evaluators import make_evaluator
from hwnas.evaluators.executor import in_this_process, on_ray
from hwnas.evaluators.proxy_features import NUM_SAMPLES, proxy_features
from hwnas.parts import find
from hwnas.profiling import Measured, MeasuredFields, onnx_cache
from hwnas.progress import Task
from hwnas.quantities import ceil_ms, format_ms, parse_bytes, parse_count, parse_mj
from hwnas.records import MAKE_AGAIN, as_record
from hwnas.run import Run
from hwnas.search import (
    Evaluation,
    EvolutionAgent,
    HardLimits,
    Limit,
    RandomAgent,
    SearchAgent,
    SearchResult,
    pareto_front,
)
from hwnas.search.judgement import Judgement
from hwnas.search.loop import Judge, run_search
from hwnas.stages.finalists import Finalists, ranked, search_limits
from hwnas.stages.latency import Latency
from hwnas.training.randomness import numpy_rng
from lut.model import energy_mj
from search_spaces import Architecture, SpaceError
from search_spaces.cost import GraphCosts
from search_spaces.memory import MemoryModel
from search_spaces.supernet import Supernet

SIZE_EVALUATIONS = 2000
"""Architectures tried when looking for the largest that fits; each costs a table look-up only."""


REFERENCES = ("largest", "random")
"""The networks that a winner is compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundNetwork:
    """A network to be retrained, with what is known of it so far.

    Attributes:
        finalist: how it was measured after the search, for winners that were.
    """

    architecture: Architecture
    params: int
    macs: int
    supernet_score: float
    predicted_ms: float
    max_ms: float
    finalist: MeasuredFields | None = None


def find_networks(run: Run, latency: Latency, constraint: HardLimits, supernet: Supernet) -> dict[str, FoundNetwork]:
    """Find the winner, two references under the same budget, and a winner for every further budget.

    The references are the largest network that fits, and a random one.

    Raises:
        RunError: no network keeps the budget as measured, not even the fastest.
        RunError: the folder holds a result that is damaged or of another version.
    """
    name = "search/result.json"
    found = run.stored(name, lambda: _find(run, latency, constraint, supernet))
    return networks_of(run, found, run.folder / name)


def networks_of(run: Run, record: Mapping[str, Any], path: Path) -> dict[str, FoundNetwork]:
    """Return the networks that a file of the run's folder tells of, by name.

    Raises:
        RunError: it tells of something else, or of networks of another space.
    """
    networks: dict[str, FoundNetwork] = as_record(dict[str, FoundNetwork], record.get("networks"), path)
    for network in networks.values():
        require_architecture(run, network.architecture, path)
    return networks


def require_architecture(run: Run, architecture: Architecture, path: Path) -> None:
    """Raise RunError unless an architecture that the file tells of is one of the run's space."""
    try:
        run.space.validated(architecture)
    except SpaceError as error:
        raise RunError(f"{path} is damaged: {error}; {MAKE_AGAIN}") from error


def _find(run: Run, latency: Latency, constraint: HardLimits, supernet: Supernet) -> dict[str, Any]:
    evaluator = make_evaluator(run, supernet)
    costs = GraphCosts(run.space)
    config = run.config.search
    if config.executor == "ray" and config.actors > config.generation:
        run.reporter.warn(
            f"search: {config.actors - config.generation} of {config.actors} actors will have nothing to do; "
            f"--set search.generation={config.actors} gives all of them work"
        )
    with (
        on_ray(evaluator, config.actors, config.ray_address)
        if config.executor == "ray"
        else nullcontext(in_this_process(evaluator))
    ) as judge:
        return _find_by(run, latency, constraint, supernet, _Remembering(judge), costs)


class _Remembering:
    """Searches of several budgets share what they evaluate to the end."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._known: dict[Architecture, Judgement] = {}

    def __call__(
        self, architectures: Sequence[Architecture], rivals: Sequence[Judgement | None]
    ) -> Iterator[Judgement]:
        new = {a: r for a, r in zip(architectures, rivals, strict=True) if a not in self._known}
        fresh = self._judge(list(new), list(new.values()))
        for architecture in architectures:
            judgement = self._known.get(architecture) or next(fresh)
            if judgement.is_complete:
                self._known[architecture] = judgement
            yield judgement

    def scores(self, architectures: Sequence[Architecture]) -> list[float]:
        """Return the scores by all images."""
        return [j.score for j in self(architectures, [None] * len(architectures))]


def _find_by(
    run: Run,
    latency: Latency,
    constraint: HardLimits,
    supernet: Supernet,
    judge: _Remembering,
    costs: GraphCosts,
) -> dict[str, Any]:
    history: dict[Architecture, Evaluation] = {}
    budgets = {"winner": latency.max_ms, **winner_names(latency.more_ms)}
    limits_of = {name: search_limits(constraint, latency, max_ms) for name, max_ms in budgets.items()}
    extra = _what_agents_read(run, constraint, supernet)
    for name, limits in limits_of.items():
        result = _search(run, limits, extra, judge, name, known=tuple(history.values()))
        history |= {e.architecture: e for e in result.history}
    winners, measured_of, finalists, slow_downs = {}, {}, {}, {}
    for name, max_ms in budgets.items():
        candidates = Finalists(run, ranked(run, limits_of[name]), latency, max_ms, name)
        winners[name], measured_of[name] = _winner(run, candidates, latency, limits_of[name], max_ms, judge)
        finalists[name], slow_downs[name] = candidates.rows, candidates.slow_down
    networks = {name: (architecture, budgets[name]) for name, architecture in winners.items()}
    constraint = constraint.with_maximum("latency_ms", latency.limit_for(slow_downs["winner"]))
    random = RandomAgent(run.space, constraint, numpy_rng(run.config.seed, "reference")).ask(1)[0]
    networks |= {"largest": (_largest(run, constraint, costs), latency.max_ms), "random": (random, latency.max_ms)}
    known = dict(zip(networks, judge.scores([a for a, _ in networks.values()]), strict=True))
    return {
        "networks": {
            name: described(a, costs, known[name], latency, max_ms)
            | ({"finalist": measured.as_dict()} if (measured := measured_of.get(name)) else {})
            for name, (a, max_ms) in networks.items()
        },
        "finalists": finalists["winner"],
        "finalists_of_budgets": {name: rows for name, rows in finalists.items() if name != "winner"},
        "front": [e.as_dict() for e in pareto_front([_by_latency(e) for e in history.values()])],
        "num_evaluations": len(history),
    }


def _winner(
    run: Run, finalists: Finalists, latency: Latency, limits: HardLimits, max_ms: float, judge: _Remembering
) -> tuple[Architecture, Measured | None]:
    """Return the best finalist that keeps the budget; where none does, the fastest network of the space is tried too.

    Where nothing can be measured it is the best that keeps the budget by prediction.
    """
    if not run.device.is_measurable:
        return finalists.best_by_prediction().architecture, None
    if winner := finalists.best():
        return winner.architecture, winner.measured
    fastest, _ = latency.model.extreme()
    fastest = run.space.canonical(fastest)
    if limits.is_met(fastest) and all(f.architecture != fastest for f in finalists.measured):
        (score,) = judge.scores([fastest])
        finalists.add(Evaluation(architecture=fastest, score=score, costs=limits.costs(fastest)))
        if winner := finalists.best():
            return winner.architecture, winner.measured
    nearest = min(finalists.measured, key=lambda f: f.measured.latency_ms)
    raise RunError(
        f"none of {len(finalists.measured)} networks keeps {format_ms(max_ms)} as measured; the fastest takes "
        f"{format_ms(nearest.measured.latency_ms)}: {'-'.join(map(str, nearest.architecture))}; give a budget of "
        f"{format_ms(ceil_ms(nearest.measured.at_worst_ms))} or more"
    )


def winner_names(more_ms: Mapping[str, float]) -> dict[str, float]:
    """Return what the winners of further budgets are called in files, with their budgets."""
    return {"winner-" + re.sub(r"[^\w.]+", "", text.replace("%", "pct")): ms for text, ms in more_ms.items()}


def _by_latency(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, costs={"latency_ms": evaluation.costs["latency_ms"]})


def hard_limits(run: Run, latency: Latency) -> HardLimits:
    """Return everything that the configuration bounds, and the sizes of networks for the record."""
    config = run.config
    limits = [
        Limit(
            name="latency_ms",
            cost=latency.model.predict_ms,
            maximum=latency.limit_ms,
            least=lambda: latency.model.extreme()[1],
        ),
        *graph_limits(run),
    ]
    if config.max_energy:
        table = latency.model.table
        limits.append(
            Limit(
                name="energy_mj",
                cost=lambda architectures: energy_mj(table, run.space, architectures),
                maximum=parse_mj(config.max_energy),
            )
        )
    return HardLimits(limits=tuple(limits))


def graph_limits(run: Run) -> list[Limit]:
    """Return the limits of what follows from the graph alone, and takes no measuring."""
    config, costs = run.config, GraphCosts(run.space)
    limits = [
        Limit(name="params", cost=costs.params, maximum=_count(config.max_params)),
        Limit(name="macs", cost=costs.macs, maximum=_count(config.max_macs)),
    ]
    if config.max_memory:
        memory = MemoryModel(run.space, onnx_cache(), batch=run.device.batch)
        most = parse_bytes(config.max_memory)
        limits.append(
            Limit(name="memory_bytes", cost=memory.peak_bytes, maximum=most, least=memory.least_bytes),
        )
    return limits


def _count(text: str | None) -> float | None:
    return None if text is None else parse_count(text)


class _Proxies(TypedDict):
    """The values that cheap evaluators give the architectures of a sample."""

    architectures: list[Architecture]
    values: dict[str, list[float]]


def _what_agents_read(run: Run, constraint: HardLimits, supernet: Supernet) -> dict[str, object]:
    """Return what the run's agent is made with besides what all agents are: most know only scores."""
    agent: type[SearchAgent] = find("search-agent", run.config.search.agent)
    extra: dict[str, object] = {}
    if agent.reads_supernet:
        extra["supernet"] = supernet
    if run.config.search.proxies:
        name = "search/proxies.json"
        stored = run.stored(name, lambda: _computed_proxies(run, constraint, supernet))
        known: _Proxies = as_record(_Proxies, stored, run.folder / name)
        for architecture in known["architectures"]:
            require_architecture(run, architecture, run.folder / name)
        extra["features"] = proxy_features(known["architectures"], known["values"])
    return extra


def _computed_proxies(run: Run, constraint: HardLimits, supernet: Supernet) -> dict[str, Any]:
    """Return what the proxies say of a random sample of the networks that keep the budget."""
    sampled = RandomAgent(run.space, constraint, numpy_rng(run.config.seed, "proxies")).ask(NUM_SAMPLES)
    evaluators = {name: find("evaluator", name)(run, supernet) for name in run.config.search.proxies}
    values: dict[str, list[float]] = {name: [] for name in evaluators}
    with run.reporter.task("proxies", len(sampled)) as task:
        for done, architecture in enumerate(sampled, start=1):
            for name, evaluator in evaluators.items():
                values[name].append(evaluator.score(architecture))
            task.update(done)
    return {"architectures": sampled, "values": values}


def _search(
    run: Run,
    constraint: HardLimits,
    extra: Mapping[str, object],
    judge: Judge,
    name: str,
    *,
    known: Sequence[Evaluation],
) -> SearchResult:
    """Search under one budget, beginning with what the searches under other budgets found out."""
    config = run.config.search
    made = find("search-agent", config.agent)
    place = "search" if name == "winner" else f"search-{name}"
    agent = made(run.space, constraint, numpy_rng(run.config.seed, place), **extra)
    if usable := [e for e in known if constraint.is_met(e.architecture)]:
        agent.tell(usable)
    (run.folder / "search").mkdir(exist_ok=True)
    with run.reporter.task(place, config.evaluations) as task:
        return run_search(
            agent,
            judge,
            constraint.costs,
            history_path=run.folder / "search" / ("history.jsonl" if name == "winner" else f"history-{name}.jsonl"),
            num_evaluations=config.evaluations,
            generation_size=config.generation,
            seed=run.config.seed,
            give_up_below=config.finalists if config.early_stopping else None,
            on_evaluation=_show_best(task),
        )


def _show_best(task: Task) -> Callable[[int, Evaluation], None]:
    best = float("-inf")

    def show(done: int, evaluation: Evaluation) -> None:
        nonlocal best
        best = max(best, evaluation.score)
        task.update(done, f"best {best:.4f}")

    return show


def _largest(run: Run, constraint: HardLimits, costs: GraphCosts) -> Architecture:
    """Return the network with the most multiply-accumulates that keeps the budget, as far as evolution finds it."""
    agent = EvolutionAgent(run.space, constraint, numpy_rng(run.config.seed, "largest"))
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
) -> dict[str, Any]:
    """Return the fields of a found network."""
    cost = costs.of(architecture)
    return {
        "architecture": list(architecture),
        "params": cost.params,
        "macs": cost.macs,
        "supernet_score": score,
        "predicted_ms": latency.model.predict_one_ms(architecture),
        "max_ms": max_ms,
    }
