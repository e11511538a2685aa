"""Models that do not fit in memory together."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profilers.grouping import NUM_ANCHORS, estimate_bytes, split_into_groups


def test_one_group_where_everything_fits() -> None:
    assert split_into_groups([100, 200, 300]) == [[0, 1, 2]]


@given(sizes=st.lists(st.integers(0, 10_000_000), min_size=20, max_size=200), memory_mb=st.floats(60, 2000))
@settings(max_examples=60, deadline=None)
def test_groups_cover_all_share_anchors_and_stay_near_the_limit(sizes: list[int], memory_mb: float) -> None:
    groups = split_into_groups(sizes, memory_mb=memory_mb)
    assert set().union(*groups) == set(range(len(sizes)))
    if len(groups) > 1:
        shared = set.intersection(*map(set, groups))
        assert len(shared) == NUM_ANCHORS
        assert sum(map(len, groups)) == len(sizes) + NUM_ANCHORS * (len(groups) - 1)
        largest = max(estimate_bytes(s) for s in sizes)
        for group in groups:
            assert sum(estimate_bytes(sizes[i]) for i in group) <= memory_mb * 2**20 + 2 * largest


@pytest.mark.parametrize("memory_mb", [0.001, 1.0])
def test_a_limit_below_a_single_model_still_measures(memory_mb: float) -> None:
    groups = split_into_groups([1000] * 30, memory_mb=memory_mb)
    assert set().union(*groups) == set(range(30))
