"""The architecture generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import bare_table, small_spec

from hwnas.errors import RequestError
from hwnas.search import Evaluation, GeneratorAgent, HardLimits, Limit
from hwnas.search.gaussian_process import ChoiceProcess, Posterior
from hwnas.search.generator import ArchitectureGenerator
from lut import LatencyModel
from search_spaces import Architecture, SearchSpace, make_space


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return make_space(small_spec("fbnet-s"))


@pytest.fixture(scope="module")
def limits(space: SearchSpace) -> HardLimits:
    model = LatencyModel(space, bare_table(space))
    maximum = 0.3 * model.extreme()[1] + 0.7 * model.extreme(slowest=True)[1]
    return HardLimits(limits=(Limit(name="latency_ms", cost=model.predict_ms, maximum=maximum),))


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generators learn next to nothing."""
    monkeypatch.setattr("hwnas.search.generator.NUM_STEPS", 20)


def _score(architecture: Architecture) -> float:
    """Later choices are better, the more so in later layers, and neighbours should be equal."""
    choices = np.array(architecture)
    return float((choices * np.linspace(0.5, 1.5, len(choices))).sum() + 3.0 * (choices[1:] == choices[:-1]).sum())


def _posterior(space: SearchSpace, num: int) -> Posterior:
    rows = space.sample_many(num, np.random.default_rng(0))
    process = ChoiceProcess(num_decisions=rows.shape[1])
    values = np.random.default_rng(1).normal(size=num)
    process.fit(rows, values)
    return process.condition(rows, values)


@pytest.mark.usefixtures("few_steps")
def test_expected_scores_are_those_of_many_samples(space: SearchSpace, limits: HardLimits) -> None:
    generator = ArchitectureGenerator(space, limits, seed=0)
    posterior = _posterior(space, 40)
    generator.train(posterior)
    probabilities = [p.detach() for p in generator._probabilities(torch.tensor([[0.6]]))]
    rng = np.random.default_rng(2)
    shares = [p[0].double().numpy() for p in probabilities]
    columns = [rng.choice(len(p), size=20_000, p=p / p.sum()) for p in shares]
    sampled, _ = posterior.predict(np.stack(columns, axis=1))
    expected = generator._expected_scores(probabilities).item()
    assert expected == pytest.approx(sampled.mean(), abs=5 * sampled.std() / np.sqrt(len(sampled)) + 1e-4)


@pytest.mark.slow
def test_emits_for_any_smaller_budget_what_keeps_it_and_beats_most(space: SearchSpace, limits: HardLimits) -> None:
    agent = GeneratorAgent(space, limits, np.random.default_rng(0))
    for _ in range(8):
        agent.tell([Evaluation(architecture=a, score=_score(a), costs={}) for a in agent.ask(10)])
    random = space.sample_many(4000, np.random.default_rng(1))
    shares = limits.worst_share(random)
    for ratio in np.linspace(float(np.quantile(shares, 0.02)), 1.0, 6):
        tighter = limits.with_maximum("latency_ms", float(limits.limits[0].maximum or 0.0) * float(ratio))
        emitted = agent.emit(tighter)
        assert tighter.is_met(emitted)
        baselines = [_score(tuple(row)) for row in random[shares <= ratio].tolist()]
        assert _score(emitted) > np.quantile(baselines, 0.9)


@pytest.mark.parametrize("num", [0, 1])
def test_too_few_evaluations_to_emit_by_are_counted(num: int, space: SearchSpace, limits: HardLimits) -> None:
    agent = GeneratorAgent(space, limits, np.random.default_rng(0))
    agent.tell([Evaluation(architecture=a, score=_score(a), costs={}) for a in agent.ask(num)])
    with pytest.raises(RequestError, match=rf"there are {num}, and 2 at least are needed.*--evaluations"):
        agent.emit(limits)


@pytest.mark.usefixtures("few_steps")
def test_a_budget_below_the_fastest_is_an_error(space: SearchSpace, limits: HardLimits) -> None:
    agent = GeneratorAgent(space, limits, np.random.default_rng(0))
    agent.tell([Evaluation(architecture=a, score=_score(a), costs={}) for a in agent.ask(10)])
    with pytest.raises(RequestError, match=r"no feasible architecture"):
        agent.emit(limits.with_maximum("latency_ms", 1e-6))
