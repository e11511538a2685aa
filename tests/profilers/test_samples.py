"""Samples keep the restart that they were taken in, whatever they are joined with."""

from __future__ import annotations

from profilers import Measurement
from profilers.pace import Pace
from profilers.samples import Samples
from profilers.visits import place_of, restart_of, visit_of


def _measurement(key: str, *visits: int) -> Measurement:
    return Measurement(key=key, visits=visits, wall_ns=(5,) * len(visits), cpu_ns=(5,) * len(visits))


def _samples(*measurements: Measurement, pace: Pace | None = None) -> Samples:
    return Samples(measurements={m.key: m for m in measurements}, pace=pace)


def test_a_visit_tells_its_restart_and_its_place() -> None:
    visits = [visit_of(0), visit_of(0, 7), visit_of(3, 2)]
    assert visits == [0, 7, 3_000_002], "as tables have them"
    assert restart_of(visits).tolist() == [0, 0, 3] and place_of(visits).tolist() == [0, 7, 2]


def test_later_restarts_are_counted_on() -> None:
    first = _samples(_measurement("a", 0, visit_of(1)), _measurement("b", 1))
    later = _samples(_measurement("b", 2, visit_of(1, 4)), _measurement("c", 3))
    joined = first.followed_by(later)
    assert {key: m.restarts for key, m in joined.measurements.items()} == {"a": (0, 1), "b": (0, 2, 3), "c": (2,)}
    assert joined.measurements["b"].visits == (1, visit_of(2, 2), visit_of(3, 4))
    assert joined.num_restarts == 4


def test_what_failed_once_has_the_samples_of_the_other_time() -> None:
    failed = Measurement(key="a", error="crashed")
    for first, later in ((failed, _measurement("a", 3)), (_measurement("a", 3), failed)):
        assert _samples(first).followed_by(_samples(later)).measurements["a"].num_samples == 1


def test_pace_moves_with_the_samples() -> None:
    pace = Pace(visits=(0, 4), wall_ns=(1, 2), cpu_ns=(1, 2), after_wall_ns=(3,), after_cpu_ns=(3,))
    told, silent = _samples(_measurement("a", 0), pace=pace), _samples(_measurement("a", 0))
    both = told.followed_by(told).pace
    assert both is not None and both.visits == (0, 4, visit_of(1), visit_of(1, 4)) and both.after_wall_ns == (3, 3)
    assert told.followed_by(silent).pace == pace and silent.followed_by(silent).pace is None
    late = silent.followed_by(told).pace
    assert late is not None and late.visits == (visit_of(1), visit_of(1, 4))
