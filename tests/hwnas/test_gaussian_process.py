"""The predictor against scikit-learn, and the agent on objectives that it can learn."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from samples import small_spec
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal, spearmanr

from hwnas.errors import RequestError
from hwnas.evaluators.tabular import load_tabular
from hwnas.search import Evaluation, EvolutionAgent, HardLimits, Limit, PredictorAgent, RandomAgent, pareto_front
from hwnas.search.gaussian_process import PRIOR_VARIANCE, ChoiceProcess, Features, Paths, no_features
from search_spaces import make_space
from search_spaces.cost import GraphCosts

RNG = np.random.default_rng(0)
ROWS = RNG.integers(0, 4, (40, 6))
VALUES = RNG.standard_normal(40)


def _two_features(rows: np.ndarray) -> np.ndarray:
    return np.stack([rows.sum(axis=1) - 9.0, np.cos(rows[:, 0])], axis=1)


def _three_paths(rows: np.ndarray) -> np.ndarray:
    return np.stack([rows[:, 0] == rows[:, 1], rows[:, 2] > 1, rows[:, 3] == 0], axis=1)


EACH_KIND = pytest.mark.parametrize(
    ("features", "paths"), [(no_features, None), (_two_features, None), (_two_features, _three_paths)]
)


def _noise(process: ChoiceProcess) -> float:
    return float(np.exp(process._log[6 + 3]))


@EACH_KIND
def test_likelihood_and_gradient_are_right(features: Features, paths: Paths | None) -> None:
    process = ChoiceProcess(num_decisions=6, features=features, paths=paths)
    differs, alike = (ROWS[:, None, :] != ROWS[None, :, :]).astype(float), features(ROWS) @ features(ROWS).T
    of_paths = np.zeros((40, 40)) if paths is None else (paths(ROWS)[:, None] != paths(ROWS)[None]).sum(axis=2)
    log = process._log + 0.3 * RNG.standard_normal(len(process._log))
    value, _ = process._objective(log, differs, alike, of_paths, VALUES)
    process._log, start = log, process._prior_mean
    covariance = process.covariance(ROWS, ROWS) + (_noise(process) + 1e-6) * np.eye(40)
    np.testing.assert_allclose(process.prior_variance(ROWS), np.diag(process.covariance(ROWS, ROWS)))
    prior = 0.5 * ((log - start) ** 2).sum() / PRIOR_VARIANCE
    expected = -multivariate_normal(cov=covariance).logpdf(VALUES) - 20 * np.log(2 * np.pi) + prior
    assert value == pytest.approx(expected)
    error = check_grad(
        lambda x: process._objective(x, differs, alike, of_paths, VALUES)[0],
        lambda x: process._objective(x, differs, alike, of_paths, VALUES)[1],
        log,
    )
    assert error < 1e-3


@EACH_KIND
def test_posterior_is_that_of_the_textbook(features: Features, paths: Paths | None) -> None:
    process = ChoiceProcess(num_decisions=6, features=features, paths=paths)
    posterior = process.condition(ROWS, VALUES)
    others = RNG.integers(0, 4, (15, 6))
    noisy = process.covariance(ROWS, ROWS) + (_noise(process) + 1e-6) * np.eye(40)
    cross, prior = process.covariance(others, ROWS), process.covariance(others, others)
    mean, variance = posterior.predict(others)
    np.testing.assert_allclose(mean, cross @ np.linalg.solve(noisy, VALUES), rtol=1e-8, atol=1e-10)
    expected = prior - cross @ np.linalg.solve(noisy, cross.T)
    np.testing.assert_allclose(variance, np.diag(expected), atol=1e-9)
    np.testing.assert_allclose(posterior.joint(others)[1], expected, atol=1e-9)


def test_fitting_learns_which_decisions_matter() -> None:
    rows = RNG.integers(0, 4, (150, 6))

    def truth(x: np.ndarray) -> np.ndarray:
        return np.sin(3.0 * x[:, 0]) + (x[:, 1] == x[:, 0])

    process = ChoiceProcess(num_decisions=6)
    values = truth(rows)
    process.fit(rows, (values - values.mean()) / values.std())
    assert process._log[:2].min() > process._log[2:6].max()
    others = RNG.integers(0, 4, (300, 6))
    predicted, _ = process.condition(rows, values - values.mean()).predict(others)
    assert spearmanr(predicted, truth(others)).statistic > 0.95


def test_features_say_what_few_observations_of_choices_cannot() -> None:
    rows, others = RNG.integers(0, 4, (12, 10)), RNG.integers(0, 4, (200, 10))
    errors = []
    for features in (no_features, lambda r: (r.sum(axis=1) - 15.0)[:, None] / 3.5):
        process, values = ChoiceProcess(num_decisions=10, features=features), rows.sum(axis=1) - 15.0
        process.fit(rows, values / 3.5)
        predicted, _ = process.condition(rows, values / 3.5).predict(others)
        errors.append(np.abs(3.5 * predicted - others.sum(axis=1) + 15.0).mean())
    assert errors[1] < 0.25 * errors[0]


def test_paths_say_what_choices_of_a_graph_do_not() -> None:
    """Cells are as good as the sequences of operations in them, wherever those lie."""
    space = make_space(small_spec("nasbench201"))
    rng = np.random.default_rng(3)
    rows, others = space.sample_many(60, rng), space.sample_many(300, rng)
    value = rng.standard_normal(space.paths(rows).shape[1])
    correlations = []
    for paths in (None, space.paths):
        process, values = ChoiceProcess(num_decisions=6, paths=paths), space.paths(rows) @ value
        values = (values - values.mean()) / values.std()
        process.fit(rows, values)
        predicted, _ = process.condition(rows, values).predict(others)
        correlations.append(spearmanr(predicted, space.paths(others) @ value).statistic)
    assert correlations[1] > correlations[0] + 0.1


@pytest.mark.parametrize(
    ("name", "resolutions", "has_paths"),
    [("nasbench201", (), True), ("nasbench201", (16, 8), True), ("nasbench-macro", (16, 8), False)],
)
def test_predictor_compares_graphs_by_paths_and_chains_by_choices(
    name: str, resolutions: tuple[int, ...], *, has_paths: bool
) -> None:
    space = make_space(small_spec(name, resolutions=resolutions))
    macs = GraphCosts(space).macs
    rows = space.sample_many(100, np.random.default_rng(0))
    limit = Limit(name="macs", cost=macs, maximum=float(np.median(macs(rows))))
    agent = PredictorAgent(space, HardLimits(limits=(limit,)), np.random.default_rng(0))
    for _ in range(2):  # the second time it is the predictor that is asked
        agent.tell([Evaluation(architecture=a, score=float(sum(a)), costs={}) for a in agent.ask(12)])
    agent.ask(1)
    assert agent._process is not None and (agent._process.paths is not None) == has_paths
    assert any(reason != "random" for reason in agent.reasons.values())


@pytest.mark.parametrize(("name", "num"), [("nasbench-macro", 60), ("fbnet-s", 120)])
def test_predictor_beats_evolution_and_random_on_pairs_of_choices(name: str, num: int) -> None:
    space = make_space(small_spec(name))
    costs = GraphCosts(space)
    maximum = float(np.quantile(costs.macs(space.sample_many(3000, np.random.default_rng(0))), 0.3))
    limits = HardLimits(limits=(Limit(name="macs", cost=costs.macs, maximum=maximum),))
    rng = np.random.default_rng(7)
    single = [rng.standard_normal(len(d.choices)) for d in space.decisions]
    pairs = [0.5 * rng.standard_normal((len(a), len(b))) for a, b in pairwise(single)]

    def score(a: tuple[int, ...]) -> float:
        return sum(s[c] for s, c in zip(single, a, strict=True)) + sum(
            p[i, j] for p, i, j in zip(pairs, a, a[1:], strict=False)
        )

    def best(agent: object) -> float:
        found = []
        while len(found) < num:
            asked = agent.ask(10)
            told = [Evaluation(architecture=a, score=score(a), costs={}) for a in asked]
            agent.tell(told)
            found += [e.score for e in told]
        return max(found)

    means = [
        np.mean([best(kind(space, limits, np.random.default_rng(seed))) for seed in range(3)])
        for kind in (PredictorAgent, EvolutionAgent, RandomAgent)
    ]
    assert means[0] > means[1] > means[2]


def test_front_is_what_nothing_beats() -> None:
    rows = [(0.5, 1.0), (0.7, 2.0), (0.6, 2.5), (0.9, 3.0), (0.9, 4.0)]
    evaluations = [Evaluation(architecture=(i,), score=s, costs={"ms": c}) for i, (s, c) in enumerate(rows)]
    assert [e.architecture for e in pareto_front(evaluations[::-1])] == [(0,), (1,), (3,)]
    assert pareto_front([]) == []


def test_tabular_benchmarks_are_read(benchmark_data: Path) -> None:
    macro = load_tabular(benchmark_data / "nas-bench-macro_cifar10.json")
    published = json.loads((benchmark_data / "nas-bench-macro_cifar10.json").read_text())["02012100"]
    assert macro.score((0, 2, 0, 1, 2, 1, 0, 0)) == pytest.approx(published["mean_acc"] / 100)
    np.testing.assert_array_equal(macro.cost("macs", ROWS[:5, :6] @ np.zeros((6, 8), int)), [7_713_280] * 5)
    cells = load_tabular(benchmark_data / "nasbench201_cifar10.npz")
    with np.load(benchmark_data / "nasbench201_cifar10.npz") as file:
        for row in (0, 1, 9999):
            cell = cells.space.parse(str(file["arch"][row]))
            assert cells.score(cell) == pytest.approx(file["val_acc_cifar10"][row] / 100)
            assert cells.cost("lat_raspi4", np.array([cell]))[0] == pytest.approx(file["lat_raspi4"][row])


def test_what_is_no_benchmark_is_refused(tmp_path: Path) -> None:
    for name, content in (("a.json", b"{}"), ("b.npz", b"no"), ("c.json", b"[1]")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RequestError, match="cannot read the benchmark"):
            load_tabular(tmp_path / name)
    with pytest.raises(RequestError, match="cannot read the benchmark"):
        load_tabular(tmp_path / "none.npz")
