"""What an explanation says of operators, told from made-up times."""

from __future__ import annotations

import pytest
from kernels import convolution

from lut.explain import CPU, Explanation, Operator, part_ranges
from lut.overhead import Overhead


def _explained(provider: str, *, ran_on: tuple[str, ...] = (CPU, CPU, "CUDAExecutionProvider")) -> Explanation:
    operators = tuple(
        Operator(name=f"n{i}", operation="Conv", provider=name, ms=1.0, moved_bytes=10**6, kernel=convolution(16))
        for i, name in enumerate(ran_on)
    )
    overhead = Overhead()
    return Explanation(
        operators=operators,
        whole_ms=4.0,
        overhead=overhead,
        part_errors=(),
        roofline=None,
        provider=provider,
        worker={},
    )


def test_what_ran_on_the_cpu_has_fallen_back_where_another_provider_was_asked_for() -> None:
    assert [o.name for o in _explained("cuda").fallen_back] == ["n0", "n1"]
    assert len(_explained("cuda", ran_on=(CPU, CPU)).fallen_back) == 2
    assert _explained("cpu").fallen_back == ()


def test_the_remainder_is_what_operators_lack_of_the_whole() -> None:
    explanation = _explained("cpu")
    assert explanation.remainder_ms == pytest.approx(1.0)
    assert explanation.share(explanation.operators[:2]) == pytest.approx(0.5)
    assert explanation.memory_share() is None


def test_rates_are_of_bytes_and_of_additions_and_multiplications() -> None:
    operator = _explained("cpu").operators[0]
    assert operator.gb_per_s == pytest.approx(1.0)
    assert operator.macs is not None
    assert operator.gflop_per_s == pytest.approx(2 * operator.macs / 1e6)


@pytest.mark.parametrize("num", [1, 2, 3, 4, 50])
def test_parts_are_halves_and_quarters_and_never_the_whole(num: int) -> None:
    ranges = part_ranges(num)
    assert len(ranges) == {1: 0, 2: 2, 3: 4, 4: 6, 50: 6}[num]
    assert all(0 <= first < end <= num and end - first < num for first, end in ranges)
    covered = {place for first, end in ranges for place in range(first, end)}
    assert covered == (set(range(num)) if num > 1 else set())
