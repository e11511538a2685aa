"""The estimate sees through what disturbs all models alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interleaved import NUM_MODELS, simulate

from profilers import Measurement
from profilers.estimate import estimate_ms, first_run_ms, remove_common_mode, split_half_error, split_half_errors
from profilers.slowdown import slowdown
from profilers.visits import VISITS_PER_RESTART


def relative_errors(true_ms: np.ndarray, measurements: list[Measurement]) -> np.ndarray:
    """Errors of the ratios between models: a slow-down of the whole session is nobody's error."""
    found = np.array([estimate_ms(measurements)[str(m)] for m in range(NUM_MODELS)])
    ratio = found / true_ms
    return np.abs(ratio / np.median(ratio) - 1)


@given(seed=st.integers(0, 2**20), share=st.floats(0, 0.45), factor=st.floats(1.1, 3.0))
@settings(max_examples=20, deadline=None)
def test_slow_stretches_do_not_move_the_estimate(seed: int, share: float, factor: float) -> None:
    rng = np.random.default_rng(seed)
    visits = 40 * NUM_MODELS
    disturbance = np.ones(visits)
    for start in range(0, visits, 240):  # bursts of a neighbour, each many visits long
        disturbance[start : start + int(240 * share)] = factor
    assert relative_errors(*simulate(disturbance, rng)).max() < 0.01


def test_drift_does_not_move_the_estimate_where_the_plain_median_is_moved() -> None:
    rng = np.random.default_rng(0)
    true_ms, measurements = simulate(np.linspace(1.0, 1.6, 20 * NUM_MODELS), rng)
    assert relative_errors(true_ms, measurements).max() < 0.01
    plain = np.array([m.median_ms for m in measurements]) / true_ms
    assert np.abs(plain / np.median(plain) - 1).max() > 0.01


def test_first_runs_are_told_by_their_ratio_to_the_last_of_their_visits() -> None:
    """However slow the machine was in a visit, both runs were."""
    slow = np.array([1.0, 3.0, 1.0, 2.0, 1.0])
    warm_ns, cold_ns = (100_000 * slow).astype(int), (250_000 * slow).astype(int)
    told = Measurement(
        key="a", visits=(0, 1, 2, 3, 4), wall_ns=tuple(warm_ns), cpu_ns=tuple(warm_ns), first_ns=tuple(cold_ns)
    )
    silent = replace(told, key="b", first_ns=())
    found = first_run_ms([told, silent])
    assert found.keys() == {"a"}
    assert found["a"] == pytest.approx(1.5 * estimate_ms([told, silent])["a"], rel=1e-6)
    faster = replace(told, first_ns=tuple(warm_ns // 2))
    assert first_run_ms([faster])["a"] == 0.0
    joined = told.joined(replace(told, visits=(5, 6, 7, 8, 9)))
    assert joined.num_samples == len(joined.first_ns) == 10
    assert told.joined(replace(silent, visits=(5, 6, 7, 8, 9))).first_ns == ()
    assert told.joined(Measurement(key="a", error="crashed")) == told


def test_failed_models_have_no_estimate() -> None:
    good = Measurement(key="good", visits=(0, 1), wall_ns=(100, 100), cpu_ns=(1, 1))
    assert set(estimate_ms([good, Measurement(key="bad", error="crashed")])) == {"good"}
    assert remove_common_mode([]) == []


def test_halves_are_restarts_where_there_are_several() -> None:
    """Two models, steady within each of four restarts; opening the second one anew changes it by 10 %."""
    restart = np.repeat(np.arange(4), 6)
    visits = restart * VISITS_PER_RESTART + np.arange(24)
    steady = Measurement(key="a", visits=tuple(2 * visits), wall_ns=(100_000,) * 24, cpu_ns=(1,) * 24)
    others = [
        Measurement(key=str(i), visits=tuple(2 * visits + 1), wall_ns=(100_000 + i,) * 24, cpu_ns=(1,) * 24)
        for i in range(5)
    ]
    times = np.where(restart % 2 == 1, 110_000, 100_000)
    moved = Measurement(key="b", visits=tuple(2 * visits + 1), wall_ns=tuple(times), cpu_ns=(1,) * 24)
    errors = split_half_errors([steady, moved, *others])
    assert errors["a"] < 1e-3 and errors["b"] == pytest.approx(0.1 / 1.05, rel=0.01)


def test_split_half_error_is_zero_for_steady_samples_and_nan_without() -> None:
    steady = Measurement(key="a", visits=(0, 1, 2, 3), wall_ns=(100,) * 4, cpu_ns=(1,) * 4)
    assert split_half_error([steady]) == 0
    assert np.isnan(split_half_error([Measurement(key="b", error="crashed")]))


@pytest.mark.parametrize(
    "fields",
    [
        {"wall_ns": (1,), "cpu_ns": (1,), "visits": ()},
        {"wall_ns": (0,), "cpu_ns": (1,), "visits": (0,)},
        {"wall_ns": (1, 1), "cpu_ns": (1, 1), "visits": (0, 1), "first_ns": (1,)},
        {"wall_ns": (1,), "cpu_ns": (1,), "visits": (0,), "first_ns": (0,)},
        {},
        {"wall_ns": (1,), "cpu_ns": (1,), "visits": (0,), "error": "crashed"},
    ],
)
def test_inconsistent_measurements_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="m:"):
        Measurement(key="m", **fields)


def test_samples_that_lost_the_core_count_with_their_cpu_time() -> None:
    rng = np.random.default_rng(0)
    true_ms, measurements = simulate(np.ones(40 * NUM_MODELS), rng)
    interrupted = []
    for m in measurements:
        lost = rng.random(m.num_samples) < 0.6
        wall_ns = tuple(int(t + 3e6 * gone) for t, gone in zip(m.wall_ns, lost, strict=True))
        # A neighbour on the core now and then: most samples of the whole run are still the thread's own.
        wall_ns = wall_ns if int(m.key) % 3 == 0 else m.wall_ns
        interrupted.append(replace(m, wall_ns=wall_ns, cpu_ns=m.wall_ns))
    assert relative_errors(true_ms, interrupted).max() < 0.01
    found = slowdown(interrupted)
    assert found.preempted is not None and 0.15 < found.preempted < 0.25
    assert found.by_waiting == 0


def test_cpu_time_tells_nothing_where_other_threads_go_on_meanwhile() -> None:
    """In the last quarter a neighbour takes one of two cores: the timing thread sleeps until the other is done."""
    rng = np.random.default_rng(0)
    disturbance = np.ones(40 * NUM_MODELS)
    disturbance[30 * NUM_MODELS :] = 1.4
    true_ms, measurements = simulate(disturbance, rng)
    waited = [
        replace(
            m,
            cpu_ns=tuple(
                int(ns * (0.2 if v >= 30 * NUM_MODELS else 1)) for v, ns in zip(m.visits, m.wall_ns, strict=True)
            ),
        )
        for m in measurements
    ]
    assert relative_errors(true_ms, waited).max() < 0.01
    found = slowdown(waited, is_single=False)
    assert found.by < 0.02 and found.preempted is None


def test_groups_measured_at_different_speeds_are_brought_together() -> None:
    """Two sessions, the second 30 % slower; the anchors are in both."""
    rng = np.random.default_rng(1)
    true_ms = rng.uniform(0.05, 2.0, NUM_MODELS)
    columns: list[tuple[list[int], list[int]]] = [([], []) for _ in range(NUM_MODELS)]
    anchors = list(range(8))
    for session, speed in enumerate((1.0, 1.3)):
        members = anchors + list(range(8 + session, NUM_MODELS, 2))
        for position in range(20 * len(members)):
            model = members[position % len(members)]
            columns[model][0].append(session * VISITS_PER_RESTART + position)
            columns[model][1].append(int(true_ms[model] * 1e6 * speed * rng.normal(1, 0.003)))
    measurements = [
        Measurement(key=str(i), visits=tuple(v), wall_ns=tuple(t), cpu_ns=(1,) * len(t))
        for i, (v, t) in enumerate(columns)
    ]
    assert relative_errors(true_ms, measurements).max() < 0.01
