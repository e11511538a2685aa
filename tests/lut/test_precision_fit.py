"""What is learnt from measured assignments of int8 to blocks, against the machine that they were measured on."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lut.precision_fit import fitted_walk
from lut.precision_walk import PrecisionWalk, drawn, stretches, with_stretch_in_float

Rows = list[tuple[bool, ...]]


def machine(num_blocks: int, seed: int) -> PrecisionWalk:
    """Return latencies of blocks, of where stretches begin, of a little of each one's own, and of further ones."""
    rng = np.random.default_rng(seed)
    blocks, begins = rng.uniform(0.03, 0.09, num_blocks), rng.uniform(0, 0.03, num_blocks)
    return PrecisionWalk(
        num_blocks=num_blocks,
        int8_ms=0.4,
        float_stretches_ms={
            (first, after): float(blocks[first:after].sum() + begins[first] + rng.normal(0, 0.003))
            for first, after in stretches(num_blocks)
        },
        further_stretch_ms=-0.008,
    )


def measured(walk: PrecisionWalk, rows: Rows, noise: float, seed: int) -> dict[tuple[bool, ...], float]:
    factors = 1 + noise * np.random.default_rng(seed).standard_normal(len(rows))
    return {row: walk.predict_ms(row) * float(factor) for row, factor in zip(rows, factors, strict=True)}


def of_one_stretch(num_blocks: int) -> Rows:
    return [with_stretch_in_float(stretch, num_blocks) for stretch in stretches(num_blocks)]


def test_noise_and_what_stretches_share_are_told_from_what_each_takes() -> None:
    errors = []
    for seed in range(6):
        num_blocks, true = 10, machine(10, seed)
        several = drawn(num_blocks, num=100, rng=np.random.default_rng(seed))
        singles = measured(true, of_one_stretch(num_blocks), 0.01, seed)
        summed = PrecisionWalk(
            num_blocks=num_blocks,
            int8_ms=0.4,
            float_stretches_ms={
                stretch: singles[with_stretch_in_float(stretch, num_blocks)] - 0.4 for stretch in stretches(num_blocks)
            },
        )
        learnt = fitted_walk(
            singles | measured(true, several[:12], 0.01, seed + 100), int8_ms=0.4, num_blocks=num_blocks
        )
        assert -0.02 < learnt.further_stretch_ms < 0.0
        expected = np.array([true.predict_ms(row) for row in several[12:]])
        errors.append(
            [np.abs([walk.predict_ms(row) for row in several[12:]] / expected - 1).mean() for walk in (learnt, summed)]
        )
    by_learnt, by_sums = np.mean(errors, axis=0)
    assert by_learnt < 0.5 * by_sums and by_learnt < 0.01


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 5])
def test_a_machine_without_noise_is_learnt_as_it_is(num_blocks: int) -> None:
    true = machine(num_blocks, 0)
    rows = [row for row in product((False, True), repeat=num_blocks) if not all(row)]
    learnt = fitted_walk(measured(true, rows, 0.0, 0), int8_ms=0.4, num_blocks=num_blocks)
    for row in [*rows, (True,) * num_blocks]:
        assert learnt.predict_ms(row) == pytest.approx(true.predict_ms(row), rel=5e-3)


def test_latencies_have_a_unit() -> None:
    rows = of_one_stretch(4) + drawn(4, num=3, rng=np.random.default_rng(0))
    in_ms = measured(machine(4, 1), rows, 0.01, 1)
    learnt = fitted_walk(in_ms, int8_ms=0.4, num_blocks=4)
    a_thousand = fitted_walk({row: 1000 * ms for row, ms in in_ms.items()}, int8_ms=400.0, num_blocks=4)
    for row in rows:
        assert a_thousand.predict_ms(row) == pytest.approx(1000 * learnt.predict_ms(row), rel=1e-6)


def test_equal_latencies_are_no_hindrance() -> None:
    rows = of_one_stretch(3)
    learnt = fitted_walk(dict.fromkeys(rows, 0.4), int8_ms=0.4, num_blocks=3)
    assert all(learnt.predict_ms(row) == pytest.approx(0.4) for row in rows)


@pytest.mark.parametrize("wrong", [{}, {(True, True): 0.4}])
def test_what_tells_nothing_is_refused(wrong: dict[tuple[bool, ...], float]) -> None:
    with pytest.raises(ValueError, match="expected measured assignments with a block in float each"):
        fitted_walk(wrong, int8_ms=0.4, num_blocks=2)


def test_latencies_that_none_can_be_are_refused() -> None:
    rows = of_one_stretch(2)
    for wrong in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="expected milliseconds above zero"):
            fitted_walk(dict.fromkeys(rows, wrong), int8_ms=0.4, num_blocks=2)
        with pytest.raises(ValueError, match="expected milliseconds above zero"):
            fitted_walk(dict.fromkeys(rows, 0.4), int8_ms=wrong, num_blocks=2)
    with pytest.raises(ValueError, match=r"assignments of 3 blocks, got \(False, True\)"):
        fitted_walk({(False, True): 0.4}, int8_ms=0.4, num_blocks=3)


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 12])
def test_float_is_first_where_int8_is_slower_everywhere(num_blocks: int) -> None:
    rows = of_one_stretch(num_blocks)
    learnt = fitted_walk({row: 1.0 - 0.05 * row.count(False) for row in rows}, int8_ms=1.0, num_blocks=num_blocks)
    assert [point.precisions for point in learnt.front([0.1] * num_blocks)] == [(False,) * num_blocks]
