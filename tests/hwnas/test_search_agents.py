"""One contract suite over every search agent, on spaces and on a toy."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from samples import SumConstraint, ToySpace, bare_table, history_of, small_spec

from hwnas.errors import RequestError, RunError
from hwnas.evaluators.score import Score
from hwnas.search import AGENTS, Constraint, Evaluation, HardLimits, Limit, SearchAgent
from hwnas.search.agent import SearchResult
from hwnas.search.loop import run_search
from lut import LatencyModel
from search_spaces import SPACES, Architecture, SearchSpace, make_space


def _latency_limit(model: LatencyModel, max_ms: float) -> HardLimits:
    return HardLimits(limits=(Limit(name="latency_ms", cost=model.predict_ms, maximum=max_ms),))


@pytest.fixture(params=sorted(AGENTS))
def make_agent(request: pytest.FixtureRequest):
    def make(space: object, constraint: Constraint, seed: int = 0) -> SearchAgent:
        return AGENTS[request.param](space, constraint, np.random.default_rng(seed))

    return make


def drive(agent: SearchAgent, num: int, score=lambda a: float(sum(a)), generation: int = 10) -> list[Evaluation]:
    """Ask and tell until the number is reached or the agent has no more."""
    history: list[Evaluation] = []
    while len(history) < num:
        asked = agent.ask(min(generation, num - len(history)))
        if not asked:
            break
        told = [Evaluation(architecture=a, score=score(a), costs={"sum": float(sum(a))}) for a in asked]
        agent.tell(told)
        history.extend(told)
    return history


@pytest.mark.parametrize("limit", [18, 9, 4])
def test_proposals_are_feasible_canonical_and_new(make_agent, limit: int) -> None:
    space, constraint = ToySpace(), SumConstraint(limit)
    history = [e.architecture for e in drive(make_agent(space, constraint), 60)]
    assert len(set(history)) == len(history) > 10
    assert all(constraint.is_met(a) and space.canonical(a) == a for a in history)


def test_every_proposal_has_a_reason(make_agent) -> None:
    space = make_space(small_spec("nasbench-macro"))
    model = LatencyModel(space, bare_table(space))
    agent = make_agent(space, _latency_limit(model, model.extreme(slowest=True)[1]))
    history = drive(agent, 60)
    assert all(agent.reasons[e.architecture] for e in history)
    others = {agent.reasons[e.architecture] for e in history} - {"random"}
    assert others or type(agent).__name__ == "RandomAgent"


def test_asks_for_no_more_than_wanted(make_agent) -> None:
    assert len(make_agent(ToySpace(), SumConstraint(18)).ask(3)) == 3


def test_a_generation_may_be_asked_for_before_anything_is_known(make_agent) -> None:
    space = make_space(small_spec("fbnet-s"))
    model = LatencyModel(space, bare_table(space))
    assert len(make_agent(space, _latency_limit(model, model.extreme(slowest=True)[1])).ask(30)) == 30


def test_same_seed_same_proposals(make_agent) -> None:
    runs = [drive(make_agent(ToySpace(), SumConstraint(12), seed), 40) for seed in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]


def test_a_small_feasible_set_is_exhausted_and_then_nothing_is_proposed(make_agent) -> None:
    """Sum at most 2, identities anywhere: 000000, one 1, one 2, two 1s."""
    agent = make_agent(ToySpace(), SumConstraint(2))
    found = {e.architecture for e in drive(agent, 50)}
    assert found == {(0,) * 6, (1, 0, 0, 0, 0, 0), (2, 0, 0, 0, 0, 0), (1, 1, 0, 0, 0, 0)}
    assert agent.ask(5) == []


def test_one_feasible_architecture_in_thousands_is_found(make_agent) -> None:
    space = make_space(small_spec("fbnet-s"))
    model = LatencyModel(space, bare_table(space))
    fastest, fastest_ms = model.extreme()
    constraint = _latency_limit(model, fastest_ms * 1.0001)
    assert make_agent(space, constraint).ask(1) == [space.canonical(fastest)]


def test_no_feasible_architecture_is_an_error_that_quotes_the_nearest(make_agent) -> None:
    with pytest.raises(RequestError, match="no feasible architecture found; the lowest cost seen is 0"):
        make_agent(ToySpace(), SumConstraint(-1)).ask(1)


@cache
def _middle_of(name: str) -> tuple[SearchSpace, LatencyModel, float]:
    """Return a space with the latencies of its networks, and the middle of those."""
    space = make_space(small_spec(name))
    model = LatencyModel(space, bare_table(space))
    return space, model, 0.5 * (model.extreme()[1] + model.extreme(slowest=True)[1])


@pytest.mark.parametrize("name", sorted(SPACES))
def test_works_on_every_space_under_a_table(make_agent, name: str) -> None:
    space, model, middle = _middle_of(name)
    history = drive(make_agent(space, _latency_limit(model, middle)), 24, generation=8)
    assert len(history) == 24
    assert all(model.predict_one_ms(e.architecture) <= middle for e in history)


def test_evolution_beats_random_search_at_equal_evaluations() -> None:
    space = make_space(small_spec("fbnet-s"))
    weights = np.random.default_rng(0).random((22, 9))
    constraint = SumConstraint(120)

    def best(name: str, seed: int) -> float:
        agent = AGENTS[name](space, constraint, np.random.default_rng(seed))
        history = drive(agent, 200, score=lambda a: float(weights[np.arange(22), list(a)].sum()))
        return max(e.score for e in history)

    assert all(best("evolution", seed) > best("random", seed) for seed in range(5))


def _search(path: Path, num: int, *, name: str = "evolution", seed: int = 0, calls: list | None = None) -> SearchResult:
    agent = AGENTS[name](ToySpace(), SumConstraint(12), np.random.default_rng(seed))

    def score(architecture: Architecture) -> float:
        if calls is not None:
            calls.append(architecture)
        return float(np.sin(np.dot(architecture, np.arange(6))))

    return run_search(
        agent,
        lambda asked, _baselines: (Score(value=score(a)) for a in asked),
        lambda a: {"sum": float(sum(a))},
        history_path=path,
        num_evaluations=num,
        generation_size=10,
    )


@pytest.mark.parametrize("name", sorted(AGENTS))
@pytest.mark.parametrize("kept_lines", [0, 7, 25])
def test_interrupted_search_ends_as_uninterrupted(name: str, kept_lines: int, tmp_path: Path) -> None:
    whole = _search(tmp_path / "whole", 40, name=name)
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    assert len(lines) == 40
    (tmp_path / "parts").write_bytes(b"".join(lines[:kept_lines]) + lines[kept_lines][:9])
    calls: list[Architecture] = []
    assert _search(tmp_path / "parts", 40, name=name, calls=calls) == whole
    assert len(calls) == 40 - kept_lines
    assert history_of(tmp_path / "parts") == history_of(tmp_path / "whole")


def test_history_of_another_search_is_refused(tmp_path: Path) -> None:
    _search(tmp_path / "h", 20, seed=1)
    with pytest.raises(RunError, match="records another search"):
        _search(tmp_path / "h", 20, seed=2)


def test_best_is_the_highest_score_and_the_cheaper_of_equals() -> None:
    rows = [((0,), 0.5, 3.0), ((1,), 0.9, 2.0), ((2,), 0.9, 1.0)]
    history = tuple(Evaluation(architecture=a, score=s, costs={"ms": c}) for a, s, c in rows)
    assert SearchResult(history=history).best.architecture == (2,)
