"""Tail percentiles are those of single runs, disturbances included, and of enough of them."""

from __future__ import annotations

import numpy as np
import pytest

from profilers import Measurement
from profilers.estimate import estimate_ms
from profilers.tails import LEAST_RUNS, PERCENTILES, known_tails_ms, split_half_tail_error, tail_ms
from profilers.visits import visit_of


def measured(wall_ns: list[int], *, per_restart: int = 1000, cpu_ns: list[int] | None = None) -> Measurement:
    visits = tuple(visit_of(*divmod(i, per_restart)) for i in range(len(wall_ns)))
    return Measurement(key="m", visits=visits, wall_ns=tuple(wall_ns), cpu_ns=tuple(cpu_ns or [1] * len(wall_ns)))


def test_percentiles_are_above_the_true_one_as_often_as_below_it() -> None:
    rng = np.random.default_rng(0)
    for percentile, num in ((95, 40), (95, 100), (99, 300)):
        samples = rng.exponential(1.0, (2000, num)) * 1e9
        true_ms = -np.log(1 - percentile / 100) * 1e3
        found = [tail_ms(measured(row.astype(int).tolist()), percentile) for row in samples]
        assert 0.45 < np.mean(np.array(found) > true_ms) < 0.55


@pytest.mark.parametrize(("num", "known"), [(99, set()), (100, {95}), (299, {95}), (300, {95, 99})])
def test_a_percentile_takes_enough_runs(num: int, known: set[int]) -> None:
    assert known_tails_ms(measured(list(range(1, num + 1)))).keys() == known
    assert LEAST_RUNS.keys() == {*PERCENTILES}


def test_what_disturbs_a_run_is_in_the_tail_and_not_in_the_median() -> None:
    """The core is lost in one run of ten, for twice as long as the model takes."""
    rng = np.random.default_rng(0)
    cpu_ns = (1e6 * rng.normal(1.0, 0.002, 400)).astype(int)
    wall_ns = cpu_ns + np.where(np.arange(400) % 10 == 0, 2_000_000, 0)
    lost = measured(wall_ns.tolist(), cpu_ns=cpu_ns.tolist())
    quiet = measured(cpu_ns.tolist(), cpu_ns=cpu_ns.tolist())
    assert estimate_ms([lost])["m"] == pytest.approx(estimate_ms([quiet])["m"], rel=1e-3)
    assert tail_ms(lost, 95) == pytest.approx(3.0, rel=0.01) and tail_ms(quiet, 95) == pytest.approx(1.0, rel=0.01)


def test_halves_are_odd_and_even_restarts() -> None:
    """Every second restart has a longer tail, though each median is the same."""
    even, odd = [100] * 9 + [200], [100] * 9 + [300]
    assert split_half_tail_error(measured([*even, *odd] * 5, per_restart=10), 95) == pytest.approx(0.4)
    assert split_half_tail_error(measured(even * 10, per_restart=10), 95) == 0.0
    with pytest.raises(ValueError, match="expected two samples to be halved, found 1"):
        split_half_tail_error(measured([100]), 95)
