"""The walk over precision states, against all assignments one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lut.precision_walk import PrecisionWalk, drawn, float_stretches, stretches, with_stretch_in_float


def walk_of(num_blocks: int, seed: int) -> PrecisionWalk:
    rng = np.random.default_rng(seed)
    float_stretches_ms = {
        stretch: float(rng.uniform(-0.5, 1.0) * (stretch[1] - stretch[0])) for stretch in stretches(num_blocks)
    }
    further_ms = float(rng.uniform(-0.2, 0.2))
    return PrecisionWalk(
        num_blocks=num_blocks, int8_ms=10.0, float_stretches_ms=float_stretches_ms, further_stretch_ms=further_ms
    )


def every(num_blocks: int) -> list[tuple[bool, ...]]:
    return list(product((False, True), repeat=num_blocks))


@settings(deadline=None)
@given(num_blocks=st.integers(1, 7), seed=st.integers(0, 2**32 - 1))
def test_the_front_is_that_of_all_assignments(num_blocks: int, seed: int) -> None:
    walk = walk_of(num_blocks, seed)
    losses = np.random.default_rng(seed).choice([0.0, 0.125, 0.25, 0.5], num_blocks)  # ties, too
    rows = every(num_blocks)
    ms, loss = np.array([walk.predict_ms(row) for row in rows]), np.array(rows) @ losses
    front = walk.front(losses.tolist())
    assert [point.ms for point in front] == sorted(point.ms for point in front)
    for point in front:
        place = rows.index(point.precisions)
        assert (point.ms, point.loss) == (pytest.approx(ms[place]), pytest.approx(loss[place]))
        assert not np.any((ms < point.ms - 1e-9) & (loss <= point.loss))
    for allowed in loss:  # the fastest that loses no more is on it
        expected = ms[loss <= allowed].min()
        assert min(p.ms for p in front if p.loss <= allowed) == pytest.approx(expected)


@settings(deadline=None)
@given(num_blocks=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_a_machine_of_layouts_and_conversions_is_predicted(num_blocks: int, seed: int) -> None:
    """Float blocks after int8 take more until one of them gives the blocked layout; ends of stretches are converted."""
    rng = np.random.default_rng(seed)
    into, back, plain, in_float = rng.uniform(0, 1, (4, num_blocks))
    gives_blocked = rng.random(num_blocks) < 0.3

    def taken(row: tuple[bool, ...]) -> float:
        ms, before, is_blocked = 5.0, False, True
        for number, is_int8 in enumerate(row):
            if is_int8:
                ms += 0.0 if before else into[number]
                is_blocked = False
            else:
                ms += in_float[number] + before * back[number] + (not is_blocked) * plain[number]
                is_blocked = bool(is_blocked or gives_blocked[number])
            before = is_int8
        return float(ms)

    in_int8 = taken((True,) * num_blocks)
    measured = {
        stretch: taken(with_stretch_in_float(stretch, num_blocks)) - in_int8 for stretch in stretches(num_blocks)
    }
    walk = PrecisionWalk(num_blocks=num_blocks, int8_ms=in_int8, float_stretches_ms=measured)
    for row in every(num_blocks):
        assert walk.predict_ms(row) == pytest.approx(taken(row))


@pytest.mark.parametrize(("num_blocks", "expected"), [(1, 0), (2, 0), (3, 1), (6, 12), (12, 12), (16, 12)])
def test_assignments_are_drawn_that_were_not_measured(num_blocks: int, expected: int) -> None:
    rows = drawn(num_blocks, num=12, rng=np.random.default_rng(0))
    assert len(rows) == len(set(rows)) == expected
    assert all(len(row) == num_blocks and len(float_stretches(row)) > 1 for row in rows)
    assert rows == drawn(num_blocks, num=12, rng=np.random.default_rng(0))


def test_runs_of_an_assignment() -> None:
    assert float_stretches((False, True, False, False)) == [(0, 1), (2, 4)] and float_stretches((True, True)) == []
    assert stretches(2) == [(0, 1), (0, 2), (1, 2)] and with_stretch_in_float((1, 3), 4) == (True, False, False, True)


def test_missing_runs_and_wrong_losses_are_refused() -> None:
    with pytest.raises(ValueError, match=r"every stretch of blocks, \(0, 1\) is missing"):
        PrecisionWalk(num_blocks=2, int8_ms=1.0, float_stretches_ms={})
    for num_blocks in (0, 61):
        with pytest.raises(ValueError, match=f"1 to 60 blocks, got {num_blocks}"):
            PrecisionWalk(num_blocks=num_blocks, int8_ms=1.0, float_stretches_ms={})
    for latencies in ({"int8_ms": np.nan}, {"int8_ms": 1.0, "further_stretch_ms": np.inf}):
        with pytest.raises(ValueError, match="latencies that are finite numbers"):
            PrecisionWalk(num_blocks=1, float_stretches_ms={(0, 1): 1.0}, **latencies)
    for row in ((False,), (False,) * 5):
        with pytest.raises(ValueError, match="the precisions of 3 blocks"):
            walk_of(3, 0).predict_ms(row)
    for losses in ([0.1], [0.1, -0.1, 0.0], [np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0]):
        with pytest.raises(ValueError, match="expected 3 losses of 0 or more"):
            walk_of(3, 0).front(losses)
