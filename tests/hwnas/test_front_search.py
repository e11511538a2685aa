"""Searches for networks that no other beats in score and in every latency."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from command_line import run_cli
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from samples import SumConstraint, ToySpace, bare_table, small_spec, synthetic_table

import hwnas
from hwnas.constraint import LATENCY, latency_on
from hwnas.errors import RequestError
from hwnas.search import AGENTS, Evaluation, HardLimits, Limit, PredictorAgent
from hwnas.search.acquisition import FrontGrowth
from hwnas.search.objectives import objective_arguments
from hwnas.setting_types import Objective
from lut import LatencyModel, save_table
from search_spaces import SearchSpace, make_space

CERTAIN = 1e-9

Latencies = NDArray[np.float64]


def _growth(known_ms: Latencies, scores: list[float], candidates_ms: Latencies) -> FrontGrowth:
    """How a front grows by networks whose only choice is which of some latencies they have."""
    latency_ms = np.concatenate([known_ms, candidates_ms])
    rows = np.arange(len(latency_ms))[:, None]
    return FrontGrowth(
        lambda a: latency_ms[np.asarray(a)[:, 0]],
        rows[: len(known_ms)],
        np.array(scores),
        rows[len(known_ms) :],
        np.random.default_rng(0),
    )


def _wanted(growth: FrontGrowth, number: int, mean: float, deviation: float = CERTAIN) -> float:
    return float(growth.wanted(np.array([[number]]), np.array([mean]), np.array([deviation]))[0])


def test_growth_is_the_share_of_budgets_times_the_improvement() -> None:
    growth = _growth(np.array([[1.0]]), [0.0], np.array([[3.0], [5.0]]))
    assert _wanted(growth, 1, 2.0) == pytest.approx(2.0 * 0.5, abs=0.2), "half of the budgets from 1 to 5 ms"
    assert _wanted(growth, 1, 0.0, 1.0) == pytest.approx(0.5 / np.sqrt(2 * np.pi), abs=0.05), (
        "half of a normal variable"
    )
    assert _wanted(growth, 1, -1.0) < 1e-6 and _wanted(growth, 2, 9.0) < 1.5, (
        "no better; kept by the whole budget alone"
    )
    growth.take(np.array([1]), 2.0)
    assert _wanted(growth, 1, 2.0) < 1e-6 < _wanted(growth, 1, 2.5)


def test_a_network_has_to_keep_the_budgets_of_all_devices() -> None:
    known_ms = np.array([[1.0, 1.0]])
    growth = _growth(known_ms, [0.0], np.array([[1.0, 1.0], [1.0, 5.0], [5.0, 5.0]]))
    assert _wanted(growth, 1, 1.0) > 0.99 and _wanted(growth, 2, 1.0) < 0.15


@given(st.data())
def test_of_equal_expectations_the_faster_network_is_wanted_as_much_or_more(data: st.DataObject) -> None:
    milliseconds = st.floats(0.1, 10.0)
    known = data.draw(st.lists(st.tuples(milliseconds, milliseconds, st.floats(-2.0, 2.0)), min_size=1, max_size=6))
    fast = np.array(data.draw(st.tuples(milliseconds, milliseconds)))
    slow = fast + np.array(data.draw(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 5.0))))
    growth = _growth(np.array([k[:2] for k in known]), [k[2] for k in known], np.stack([fast, slow]))
    mean, deviation = data.draw(st.floats(-3.0, 3.0)), data.draw(st.floats(0.0, 2.0))
    fast_wanted, slow_wanted = (_wanted(growth, len(known) + i, mean, deviation) for i in (0, 1))
    assert fast_wanted >= slow_wanted - 1e-12 >= -1e-9


def _two_devices(space: SearchSpace) -> HardLimits:
    """All networks of a space, with latencies on two devices whose blocks take as long as chance has it."""
    models = [LatencyModel(space, bare_table(space, seed=seed)) for seed in (1, 2)]
    names = (LATENCY, latency_on("other"))
    return HardLimits(
        limits=tuple(
            Limit(name=name, cost=m.predict_ms, maximum=m.extreme(slowest=True)[1])
            for name, m in zip(names, models, strict=True)
        )
    )


def _driven(agent: Any, limits: HardLimits, num: int) -> list[Evaluation]:
    history: list[Evaluation] = []
    while len(history) < num:
        told = [Evaluation(architecture=a, score=float(sum(a)), costs=limits.costs(a)) for a in agent.ask(5)]
        agent.tell(told)
        history += told
    return history


def _mean_best(history: list[Evaluation], budgets: Latencies) -> float:
    latency_ms, scores = np.array([[*e.costs.values()] for e in history]), np.array([e.score for e in history])
    return float(np.where((latency_ms <= budgets[:, None]).all(axis=2), scores, 0.0).max(axis=1).mean())


@pytest.mark.parametrize("name", ["nasbench-macro", "fbnet-s"])
def test_the_front_is_nearer_than_by_what_seeks_the_best_score_alone(name: str) -> None:
    """Of a space that is listed and one that is not; the score grows with each choice, its latency as chance has it."""
    space = make_space(small_spec(name))
    limits = _two_devices(space)
    histories = [
        _driven(PredictorAgent(space, limits, np.random.default_rng(3), objective=objective), limits, 60)
        for objective in ("front", "front", "score")
    ]
    front, again, score = histories
    assert front == again and len({e.architecture for e in front}) == 60
    assert all(limits.is_met(e.architecture) and space.canonical(e.architecture) == e.architecture for e in front)
    among = np.array([[*e.costs.values()] for history in histories for e in history])
    budgets = np.random.default_rng(0).uniform(among.min(axis=0), among.max(axis=0), size=(500, 2))
    assert _mean_best(front, budgets) > _mean_best(score, budgets)
    assert max(e.score for e in front) > 0.9 * max(e.score for e in score)


@pytest.mark.parametrize("name", AGENTS)
def test_agents_seek_what_they_say_and_refuse_the_rest(name: str) -> None:
    made = AGENTS[name]
    objectives: tuple[Objective, ...] = ("score", "front")
    for objective in objectives:
        if objective in made.objectives:
            assert objective_arguments(name, made, objective).keys() <= {"objective"}
        else:
            with pytest.raises(RequestError, match=rf"that seeks the {objective}, got {name}; take one of .*"):
                objective_arguments(name, made, objective)
    assert objective_arguments(name, made, None) == {}


def test_a_front_needs_latencies() -> None:
    with pytest.raises(RequestError, match="expected a latency table, found none"):
        PredictorAgent(ToySpace(), SumConstraint(9), np.random.default_rng(0), objective="front")
    with pytest.raises(hwnas.RequestError, match="expected a latency table"):
        hwnas.Study(make_space(small_spec("nasbench-macro")), objective="front")
    with pytest.raises(hwnas.RequestError, match="objective: expected one of score, front, got 'speed'"):
        hwnas.Study(make_space(small_spec("nasbench-macro")), objective="speed")  # type: ignore[arg-type]


def test_an_agent_that_cannot_is_refused_before_any_work(tmp_path: Path) -> None:
    asked = ("--data", "digits", "--max-latency", "60%", "--agent", "evolution", "--objective", "front")
    outcome = run_cli("search", *asked, "--out", tmp_path / "run")
    assert outcome.code == 2 and not (tmp_path / "run").exists()
    assert "expected an agent that seeks the front, got evolution; take one of nsga2, predictor" in outcome.err


@pytest.mark.usefixtures("instant_measurements")
def test_a_run_seeks_the_front(tmp_path: Path) -> None:
    save_table(synthetic_table(make_space(small_spec("nasbench-macro")), scale_ns=1e8), tmp_path / "t.json")
    table = hwnas.load_table(tmp_path / "t.json")
    with mock.patch.object(FrontGrowth, "wanted", autospec=True, side_effect=FrontGrowth.wanted) as wanted:
        result = hwnas.search(
            data=None,
            table=table,
            score=sum,
            evaluations=15,
            quiet=True,
            max_latency="90%",
            objective="front",
            out=tmp_path / "run",
        )
    assert wanted.call_count > 0 and "objective: front" in (tmp_path / "run" / "config.yaml").read_text()
    assert 1 < len(result.front) <= len(result.history) == 15
