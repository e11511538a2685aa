"""Uniform feasible architectures under tight budgets, against enumeration."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import bare_table, small_spec

from hwnas.errors import RequestError
from hwnas.search import AGENTS, HardLimits, Limit
from hwnas.search.counting import CountingSampler
from hwnas.search.sampling import FeasibleSampler
from lut import LatencyModel
from search_spaces import SearchSpace, make_space
from search_spaces.cost import GraphCosts

MACRO = make_space(small_spec("nasbench-macro"))
EVERY = np.indices((3,) * 8).reshape(8, -1).T


def _limits(space: SearchSpace, *, macs: float, params: float | None = None) -> HardLimits:
    costs = GraphCosts(space)
    return HardLimits(
        limits=(
            Limit(name="macs", cost=costs.macs, maximum=macs),
            Limit(name="params", cost=costs.params, maximum=params),
        )
    )


@given(quantile=st.floats(0.001, 0.9), second=st.none() | st.floats(0.05, 0.9), seed=st.integers(0, 9))
@settings(max_examples=12, deadline=None)
def test_every_feasible_network_is_as_likely(quantile: float, second: float | None, seed: int) -> None:
    costs = GraphCosts(MACRO)
    params = None if second is None else float(np.quantile(costs.params(EVERY), second))
    limits = _limits(MACRO, macs=float(np.quantile(costs.macs(EVERY), quantile)), params=params)
    feasible = EVERY[limits.worst_share(EVERY) <= 1.0]
    rng = np.random.default_rng(seed)
    sampler = CountingSampler(MACRO, limits, rng)
    drawn = sampler.sample_many(40 * min(len(feasible), 100), rng)
    assert (limits.worst_share(drawn) <= 1.0).all()
    assert sampler.num_feasible == pytest.approx(len(feasible), rel=0.35)
    if len(feasible) <= 100:
        counts = np.unique(drawn, axis=0, return_counts=True)[1]
        assert len(counts) == len(feasible)
        assert counts.min() > 8 and counts.max() < 100  # 40 expected


def test_every_feasible_network_of_all_resolutions_is_as_likely() -> None:
    space = make_space(small_spec("nasbench-macro", resolutions=(16, 12, 8)))
    every = np.concatenate([np.insert(EVERY, 0, position, axis=1) for position in range(3)])
    costs = GraphCosts(space)
    for quantile in (0.002, 0.02, 0.4):
        limits = _limits(space, macs=float(np.quantile(costs.macs(every), quantile)))
        feasible = every[limits.worst_share(every) <= 1.0]
        rng = np.random.default_rng(0)
        sampler = CountingSampler(space, limits, rng)
        drawn = sampler.sample_many(3000, rng)
        assert len(drawn) > 2500 and (limits.worst_share(drawn) <= 1.0).all()
        assert sampler.num_feasible == pytest.approx(len(feasible), rel=0.35)
        expected, found = (np.bincount(rows[:, 0], minlength=3) / len(rows) for rows in (feasible, drawn))
        np.testing.assert_allclose(found, expected, atol=0.08)


@pytest.mark.parametrize("name", ["autoformer", "fbnet-s", "mobilevit", "ofa-mobilenetv3", "sgnas"])
def test_one_in_100_000_is_found_at_once(name: str) -> None:
    space = make_space(small_spec(name))
    model = LatencyModel(space, bare_table(space))
    many = model.predict_ms(space.sample_many(200_000, np.random.default_rng(0)))
    maximum = min(float(many.min()), 0.5 * (model.extreme()[1] + float(np.quantile(many, 1e-4))))
    limits = HardLimits(limits=(Limit(name="latency_ms", cost=model.predict_ms, maximum=maximum),))
    sampler = FeasibleSampler(space, limits, np.random.default_rng(1))
    found = [sampler.sample() for _ in range(12)]
    assert len(set(found)) == 12 and None not in found
    assert (model.predict_ms(np.array(found)) <= maximum).all()
    for agent in AGENTS.values() if name == "fbnet-s" else ():  # they all draw from that sampler
        asked = agent(space, limits, np.random.default_rng(2)).ask(5)
        assert len(asked) == 5 and limits.worst_share(np.array(asked)).max() <= 1.0


def test_nothing_feasible_is_said_with_the_nearest() -> None:
    costs = GraphCosts(MACRO)
    least = float(costs.macs(EVERY).min())
    with pytest.raises(RequestError, match=r"no feasible architecture found; the lowest cost seen is 1\.111"):
        FeasibleSampler(MACRO, _limits(MACRO, macs=0.9 * least), np.random.default_rng(0)).sample()
    assert FeasibleSampler(MACRO, _limits(MACRO, macs=least), np.random.default_rng(0)).sample() is not None


def test_small_spaces_are_exhausted() -> None:
    costs = GraphCosts(MACRO)
    limits = _limits(MACRO, macs=float(np.quantile(costs.macs(EVERY), 0.01)))
    expected = {MACRO.canonical(tuple(a)) for a in EVERY[limits.worst_share(EVERY) <= 1.0].tolist()}
    sampler = FeasibleSampler(MACRO, limits, np.random.default_rng(0))
    found = list(islice(iter(sampler.sample, None), 1000))
    assert set(found) == expected and len(found) == len(expected)
