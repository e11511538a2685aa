"""Whether a machine was slowed while it measured, from samples and from the pace of a fixed piece of work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interleaved import NUM_MODELS, simulate

from profilers import Measurement
from profilers.estimate import estimate_ms
from profilers.pace import Pace
from profilers.slowdown import Slowdown, slowdown
from profilers.visits import visit_of

VISITS = 40 * NUM_MODELS


def bursts(share: float, factor: float) -> np.ndarray:
    """A neighbour that is there for a share of the time, many visits at once."""
    return np.where(np.arange(VISITS) % 240 < 240 * share, factor, 1.0)


def pace_of(disturbance: np.ndarray, *, after: float | None = None) -> Pace:
    """0.3 ms of work at the beginning of each round, and after them as much slower as told."""
    visits = range(0, VISITS, NUM_MODELS)
    wall_ns = tuple(int(300_000 * disturbance[v]) for v in visits)
    after_ns = () if after is None else (int(300_000 * after),) * 6
    return Pace(visits=tuple(visits), wall_ns=wall_ns, cpu_ns=wall_ns, after_wall_ns=after_ns, after_cpu_ns=after_ns)


def truly_slowed(true_ms: np.ndarray, measurements: list[Measurement]) -> float:
    """How much longer the estimates are than what the models take when nothing disturbs them."""
    found = np.array([estimate_ms(measurements)[str(m)] for m in range(NUM_MODELS)])
    return float(np.median(found / true_ms)) - 1


@pytest.mark.parametrize(
    ("disturbance", "is_believed"),
    [
        (np.ones(VISITS), True),
        (np.linspace(1.0, 1.1, VISITS), True),
        (bursts(0.45, 1.8), True),
        (np.where(np.arange(VISITS) % 400 < 20, 0.97, 1.0), True),  # a short boost now and then
        (bursts(0.75, 1.55), False),
        (bursts(0.9, 2.7), False),
        (np.linspace(1.0, 1.6, VISITS), False),
        (np.where(np.arange(VISITS) < VISITS // 2, 1.0, 1.5), False),  # the estimates are in between
        (np.where(np.arange(VISITS) < VISITS // 20, 1.0, 1.5), False),
    ],
    ids=["quiet", "drift", "bursts", "boost", "most", "nearly-all", "strong-drift", "second-half", "from-the-start"],
)
def test_it_tells_how_far_the_estimates_are_from_the_undisturbed_machine(
    disturbance: np.ndarray, is_believed: bool
) -> None:
    true_ms, measurements = simulate(disturbance, np.random.default_rng(0))
    for pace in (None, pace_of(disturbance), pace_of(disturbance, after=1.0)):
        found = slowdown(measurements, pace)
        assert found.by == pytest.approx(truly_slowed(true_ms, measurements), abs=0.04)
        assert found.is_believed == is_believed


@given(seed=st.integers(0, 2**20), share=st.floats(0, 0.45), factor=st.floats(1.1, 3.0))
@settings(max_examples=20, deadline=None)
def test_a_neighbour_for_less_than_half_of_the_time_is_seen_through(seed: int, share: float, factor: float) -> None:
    disturbance = bursts(share, factor)
    _, measurements = simulate(disturbance, np.random.default_rng(seed))
    assert slowdown(measurements, pace_of(disturbance, after=1.0)).by < 0.05


def test_a_neighbour_that_was_there_all_the_time_and_then_went_is_told_by_the_pace_afterwards() -> None:
    disturbance = np.full(VISITS, 1.55)
    _, measurements = simulate(disturbance, np.random.default_rng(0))
    assert slowdown(measurements, pace_of(disturbance)).is_believed, "nothing tells"
    assert slowdown(measurements, pace_of(disturbance, after=1.55)).is_believed
    found = slowdown(measurements, pace_of(disturbance, after=1.0))
    assert not found.is_believed
    assert found.sentence() == (
        "the machine was slowed by 55% for most of the time: its milliseconds are not to be believed; "
        "profile again when nothing else runs"
    )


def test_a_restart_that_was_slow_altogether_is_told() -> None:
    """Three restarts of four are slow; within each, nothing changes."""
    disturbance = np.where(np.arange(VISITS) < VISITS // 4, 1.0, 1.5)
    _, measurements = simulate(disturbance, np.random.default_rng(0))
    length = VISITS // 4
    sat = [replace(m, visits=tuple(visit_of(*divmod(v, length)) for v in m.visits)) for m in measurements]
    assert slowdown(sat).by == pytest.approx(0.5, abs=0.03)


def test_waiting_that_estimates_count_is_told_where_cpu_time_says_anything() -> None:
    """Samples lose their core for as long again as they take: nearly all, so that estimates count it, or most."""
    rng = np.random.default_rng(0)
    _, measurements = simulate(np.ones(VISITS), rng)

    def with_cpu(share: Callable[[int], np.ndarray]) -> list[Measurement]:
        return [
            replace(m, wall_ns=tuple((m.wall_ns / share(m.num_samples)).astype(int).tolist()), cpu_ns=m.wall_ns)
            for m in measurements
        ]

    waited = with_cpu(lambda n: np.where(rng.random(n) < 0.93, 0.5, 1.0))
    assert slowdown(waited).by_waiting == pytest.approx(1.0, abs=0.01) and not slowdown(waited).is_believed
    assert slowdown(waited, is_single=False).is_believed, "other threads may have done that work"
    assert slowdown(with_cpu(lambda n: np.where(rng.random(n) < 0.7, 0.5, 1.0))).is_believed, "they count with CPU time"
    assert slowdown(with_cpu(lambda n: np.full(n, 0.5))).by_waiting is None, "an accelerator does the work"


def test_what_cannot_be_told_is_left_out_and_believed() -> None:
    few = [Measurement(key="a", visits=(0, 1, 2), wall_ns=(100, 200, 900), cpu_ns=(1, 1, 1))]
    for found in (slowdown([]), slowdown(few, pace_of(np.ones(VISITS), after=0.1)), Slowdown()):
        assert found.by_samples is None and found.by_waiting is None and found.preempted is None
        assert "nan" not in found.sentence().lower()
    assert Slowdown().is_believed and "too little" in Slowdown().sentence()


@pytest.mark.parametrize(
    "fields",
    [
        {"visits": (0,), "wall_ns": (1,)},
        {"after_wall_ns": (1,)},
        {"visits": (0,), "wall_ns": (0,), "cpu_ns": (1,)},
    ],
)
def test_inconsistent_paces_are_refused(fields: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="pace:"):
        Pace(**fields)
