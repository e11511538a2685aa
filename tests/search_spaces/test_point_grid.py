"""Points of a detector and the boxes told from them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.point_grid import PointGrid

LEVELS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([4, 8, 16, 32])), min_size=1, max_size=3
)


@given(levels=LEVELS)
@settings(max_examples=50, deadline=None)
def test_points_are_the_centres_of_cells_row_by_row(levels: list[tuple[int, int, int]]) -> None:
    grid = PointGrid.of_levels(levels)
    expected = [
        ((column + 0.5) * stride, (row + 0.5) * stride, stride)
        for height, width, stride in levels
        for row in range(height)
        for column in range(width)
    ]
    found = torch.cat([grid.points_P2, grid.strides_P[:, None]], dim=1)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


@given(levels=LEVELS, seed=st.integers(0, 2**20))
@settings(max_examples=50, deadline=None)
def test_boxes_reach_as_far_from_their_points_as_the_distances_say(
    levels: list[tuple[int, int, int]], seed: int
) -> None:
    grid = PointGrid.of_levels(levels)
    generator = torch.Generator().manual_seed(seed)
    distances_NP4 = 5 * torch.rand(2, len(grid.points_P2), 4, generator=generator)
    boxes_NP4 = grid.decoded(distances_NP4)
    assert boxes_NP4.shape == distances_NP4.shape
    assert (boxes_NP4[..., 2:] >= boxes_NP4[..., :2]).all()
    before = (grid.points_P2 - boxes_NP4[..., :2]) / grid.strides_P[:, None]
    after = (boxes_NP4[..., 2:] - grid.points_P2) / grid.strides_P[:, None]
    torch.testing.assert_close(torch.cat([before, after], dim=-1), distances_NP4, rtol=1e-4, atol=1e-4)


def test_a_box_of_whole_cells() -> None:
    grid = PointGrid.of_levels([(2, 2, 8)])
    distances_NP4 = torch.tensor([[[0.5, 0.5, 1.5, 0.5]]]).repeat(1, 4, 1)
    assert grid.decoded(distances_NP4)[0].tolist()[3] == [8.0, 8.0, 24.0, 16.0]


def test_as_many_strides_as_points() -> None:
    with pytest.raises(ValueError, match=r"found \[4, 2\] and \[3\]"):
        PointGrid(points_P2=torch.zeros(4, 2), strides_P=torch.ones(3))
