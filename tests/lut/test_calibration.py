"""Corrections of block sums recover what was put in, and never look at held-out networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import bare_table, small_spec

from lut.build import block_counts, finished
from lut.cache import BlockSize, CacheModel, lost_share
from lut.calibration import calibrate
from lut.certificate import certify
from lut.machine import describe_machine
from lut.model import predict_ms
from lut.networks import DUPLICATE, NUM_DUPLICATES, NetworkMeasurement, draw_networks
from lut.table import LatencyTable
from profilers import Measurement
from search_spaces import SearchSpace, make_space
from search_spaces.cost import GraphCosts

NO_SIZE = BlockSize(weights_mb=0.0, activations_mb=0.0)


@pytest.fixture(params=["fbnet-s", "nasbench-macro"])
def chain(request: pytest.FixtureRequest) -> SearchSpace:
    """A large and a small space; what is learnt is the same for all."""
    return make_space(small_spec(request.param))


def _measured(table: LatencyTable, space: SearchSpace, latency, num: int = 60, seed: int = 0) -> LatencyTable:
    """The table with networks that take what `latency(counts)` says, in milliseconds."""
    networks = []
    for number, plan in enumerate(draw_networks(space, num, seed=seed)):
        ns = int(1e6 * latency(block_counts(space, plan.architecture)))
        visits = tuple(10**5 + 7 * number + i for i in range(4))
        measurement = Measurement(key=plan.key, visits=visits, wall_ns=(ns,) * 4, cpu_ns=(1,) * 4)
        networks.append(NetworkMeasurement(architecture=plan.architecture, role=plan.role, measurement=measurement))
    return replace(table, networks=tuple(networks))


def _quiet_table(space: SearchSpace) -> LatencyTable:
    """A table whose samples do not vary."""
    table = bare_table(space)
    entries = tuple(replace(m, wall_ns=(m.wall_ns[0],) * m.num_samples) for m in table.entries)
    return replace(table, entries=entries)


def test_affine_distortion_is_undone(space: SearchSpace) -> None:
    table = _quiet_table(space)

    def latency(counts: dict[str, int]) -> float:
        return 0.3 + sum(num * (1.15 * table.latency_ms[key] - 0.02) for key, num in counts.items())

    done = finished(_measured(table, space, latency), space)
    assert done.certificate is not None and done.calibration is not None
    assert done.certificate.mape < 0.01
    assert done.certificate.kendall_tau > 0.98
    sums = [sum(n * table.latency_ms[k] for k, n in block_counts(space, p.architecture).items()) for p in done.networks]
    truth = [done.estimates_ms[p.measurement.key] for p in done.networks]
    assert certify(sums, truth, repeatability_mape=0).mape > 5 * done.certificate.mape


def test_properties_of_blocks_are_learnt() -> None:
    space = make_space(small_spec("fbnet-s"))
    table = _quiet_table(space)

    def latency(counts: dict[str, int]) -> float:
        return sum(n * table.latency_ms[k] * (1.3 if "k=5" in k else 1.0) for k, n in counts.items())

    done = finished(_measured(table, space, latency), space)
    assert done.calibration is not None and done.certificate is not None
    assert done.calibration.factor_std > 0
    factors = done.calibration.factors
    k5, k3 = (np.mean([f for key, f in factors.items() if f"k={k}" in key]) for k in (5, 3))
    assert k5 > k3 + 0.1
    assert done.certificate.mape < 0.03


def test_held_out_networks_do_not_move_the_calibration(chain: SearchSpace) -> None:
    table = _measured(_quiet_table(chain), chain, lambda counts: 1.0 + sum(counts.values()))
    done = finished(table, chain)
    spoilt = replace(
        table,
        networks=tuple(
            n
            if n.role == "calibration"
            else replace(n, measurement=replace(n.measurement, wall_ns=tuple(3 * t for t in n.measurement.wall_ns)))
            for n in table.networks
        ),
    )
    again = finished(spoilt, chain)
    assert again.calibration == done.calibration
    assert again.certificate != done.certificate


def test_unmeasured_blocks_keep_what_their_properties_say() -> None:
    blocks = {f"mbconv(in=8,out=8,hw=8,k={k},s=1)": 0.1 * k for k in (3, 5, 7)}
    keys = list(blocks)
    networks = [{keys[0]: i + 1, keys[1]: 5 - i} for i in range(5)]
    measured = [sum(2.0 * blocks[k] * n for k, n in counts.items()) for counts in networks]
    calibration = calibrate(blocks, networks, measured, sizes=dict.fromkeys(keys, NO_SIZE))
    assert calibration.block_ms(keys[2], blocks[keys[2]]) == pytest.approx(2.0 * blocks[keys[2]], rel=0.2)


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 networks, got 3"):
        calibrate({"a(hw=1)": 1.0}, [{"a(hw=1)": 1}] * 3, [1.0] * 3, sizes={"a(hw=1)": NO_SIZE})
    with pytest.raises(ValueError, match="at least two held-out networks, got 1"):
        certify([1.0], [1.0], repeatability_mape=0.0)


def test_networks_that_failed_say_nothing(chain: SearchSpace) -> None:
    table = _measured(_quiet_table(chain), chain, lambda counts: 1.0 + sum(counts.values()))
    failed = tuple(
        replace(n, measurement=Measurement(key=n.measurement.key, error="crashed")) if n.role == "calibration" else n
        for n in table.networks
    )
    done = finished(replace(table, networks=failed), chain)
    assert done.calibration is None and done.certificate is None
    assert done.offset_ms == 0


def test_certificate_by_hand() -> None:
    certificate = certify([1.0, 2.08, 3.3], [1.0, 2.0, 3.0], repeatability_mape=0.01, duplicates_mape=0.02)
    assert certificate.mape == pytest.approx((0 + 0.04 + 0.1) / 3)
    assert certificate.bias == pytest.approx((0 + 0.04 + 0.1) / 3)
    assert certificate.within_5pct == pytest.approx(2 / 3)
    assert certificate.kendall_tau == 1.0


def test_drawn_networks_are_distinct_divided_and_spread(space: SearchSpace) -> None:
    plans = draw_networks(space, 50, seed=3)
    assert plans == draw_networks(space, 50, seed=3) != draw_networks(space, 50, seed=4)
    roles = [p.role for p in plans]
    assert (roles.count("calibration"), roles.count("held_out"), roles.count(DUPLICATE)) == (20, 30, NUM_DUPLICATES)
    main = [p.architecture for p in plans if p.role != DUPLICATE]
    assert len(set(main)) == 50 and all(space.canonical(a) == a for a in main)
    assert {p.architecture for p in plans if p.role == DUPLICATE} < {
        p.architecture for p in plans if p.role == "held_out"
    }
    costs = GraphCosts(space)
    drawn, uniform = costs.macs(np.array(main)), costs.macs(space.sample_many(50, np.random.default_rng(0)))
    assert drawn.std() > 1.2 * uniform.std()
    assert draw_networks(space, 0, seed=3) == []


def test_model_uses_the_calibration(chain: SearchSpace) -> None:
    from lut import LatencyModel

    table = finished(_measured(_quiet_table(chain), chain, lambda counts: 5.0 + sum(counts.values())), chain)
    architecture = chain.sample(np.random.default_rng(0))
    assert LatencyModel(chain, table).predict_one_ms(architecture) == pytest.approx(
        float(predict_ms(table, chain, np.array([architecture]))[0])
    )
    assert LatencyModel(chain, table).predict_one_ms(architecture) > 5.0


def test_what_caches_lose_in_large_networks_is_learnt(chain: SearchSpace) -> None:
    """A cache that half of the networks fit into; the larger ones lose more and more, then everything."""
    table = _quiet_table(chain)
    sizes_mb = {b.key: table.block_size(b).total_mb for b in chain.candidates}
    networks = [block_counts(chain, p.architecture) for p in draw_networks(chain, 60, seed=0)]
    cache_mb = float(np.median([sum(n * sizes_mb[k] for k, n in counts.items()) for counts in networks]))

    def latency(counts: dict[str, int]) -> float:
        size = sum(n * sizes_mb[k] for k, n in counts.items()) / cache_mb
        lost = min(1.0, max(0.0, (size - 0.7) / 0.8))
        return sum(n * table.latency_ms[k] for k, n in counts.items()) + 2.0 * size * lost

    done = finished(_measured(table, chain, latency), chain)
    assert done.calibration is not None and done.certificate is not None
    cache = done.calibration.cache
    assert 0.5 * cache_mb < cache.half_mb < 2.0 * cache_mb
    assert cache.weight_ms > 0 or cache.activation_ms > 0
    assert done.certificate.mape < 0.04
    assert f"half of one of {cache.half_mb:.2g} MB is lost" in describe_machine(done, chain)[1]


def test_networks_that_stay_in_the_cache_are_said_to(chain: SearchSpace) -> None:
    table = _quiet_table(chain)

    def latency(counts: dict[str, int]) -> float:
        return sum(n * table.latency_ms[k] for k, n in counts.items())

    assert describe_machine(_measured(table, chain, latency), chain) == []
    done = finished(_measured(table, chain, latency), chain)
    assert done.calibration is not None
    assert abs(done.calibration.call_ms) < 0.05 * float(np.median(list(table.latency_ms.values())))
    assert "cost nothing for their size" in describe_machine(done, chain)[1]


def test_first_runs_tell_what_inner_caches_lose() -> None:
    """Two kinds of block of one size, one bound by its weights' way: only its first run tells them apart."""
    rng = np.random.default_rng(0)
    blocks = {f"a(in={i},out=8,hw=8)": 0.1 for i in range(6)}
    extra_ms = {key: 0.05 * (number % 2) for number, key in enumerate(blocks)}
    networks = [dict(zip(blocks, map(int, rng.integers(0, 4, 6)), strict=True)) for _ in range(40)]
    measured = [sum(n * (blocks[k] + 0.6 * extra_ms[k]) for k, n in counts.items()) for counts in networks]
    errors = []
    for is_told in (True, False):
        sizes = {k: replace(NO_SIZE, first_run_ms=extra_ms[k] if is_told else 0.0) for k in blocks}
        calibration = calibrate(blocks, networks[:20], measured[:20], sizes=sizes)
        predicted = [
            calibration.offset_ms + sum(n * calibration.block_ms(k, blocks[k]) for k, n in counts.items())
            for counts in networks[20:]
        ]
        errors.append(np.abs(np.array(predicted) / measured[20:] - 1).mean())
    assert errors[0] < 0.01 < 3 * errors[0] < errors[1]


@given(
    half_mb=st.floats(1e-3, 1e3),
    sharpness=st.floats(1.0, 12.0),
    sizes_mb=st.lists(st.floats(0.0, 1e4), min_size=2, max_size=20),
)
def test_larger_working_sets_lose_more(half_mb: float, sharpness: float, sizes_mb: list[float]) -> None:
    cache = CacheModel(half_mb=half_mb, sharpness=sharpness, weight_ms=1.0, activation_ms=1.0, call_ms=0.0)
    lost = cache.lost(sorted(sizes_mb))
    assert ((lost >= 0) & (lost <= 1)).all() and (np.diff(lost) >= 0).all()
    assert cache.lost(half_mb) == pytest.approx(0.5)
    assert cache.lost(0.0) < 1e-6


def test_a_block_costs_no_less_than_nothing(chain: SearchSpace) -> None:
    table = finished(_measured(_quiet_table(chain), chain, lambda counts: 0.01 * sum(counts.values())), chain)
    assert table.calibration is not None
    assert all(table.block_ms(key) >= 0 for key in table.latency_ms)
    predicted = predict_ms(table, chain, chain.sample_many(50, np.random.default_rng(0)))
    assert np.isfinite(predicted).all()


def test_every_network_counts_however_many_there_are() -> None:
    """More networks than the shape of the model is chosen by."""
    blocks = {f"mbconv(in=8,out=8,hw=8,k={k},s=1)": 0.1 * k for k in (3, 5)}
    rng = np.random.default_rng(0)
    networks = [dict(zip(blocks, map(int, rng.integers(1, 9, 2)), strict=True)) for _ in range(150)]
    sums = [sum(blocks[k] * n for k, n in counts.items()) for counts in networks]
    sizes = dict.fromkeys(blocks, NO_SIZE)
    for factor in (1.0, 1.2):
        measured = [ms * (factor if i >= 100 else 1.0) for i, ms in enumerate(sums)]
        calibration = calibrate(blocks, networks, measured, sizes=sizes)
        key = next(iter(blocks))
        learnt = calibration.block_ms(key, blocks[key]) / blocks[key]
        assert (learnt > 1.02) == (factor > 1.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("half_mb", "lost"), [(5e-324, 1.0), (1e9, 0.0)])
def test_the_share_that_is_lost_is_told_at_the_ends_of_the_range(half_mb: float, lost: float) -> None:
    assert lost_share(np.array([1e-6, 1.0]), half_mb, 100.0).tolist() == [lost, lost]
