"""Blocks that are connected by a wiring."""

from __future__ import annotations

import pytest
import torch

from search_spaces.wiring import IMAGE, Wiring

FORK = Wiring(sources=((IMAGE,), (0,), (0, 1), (2, 1)))
"""The first slot's output goes into two others, the second's too."""


def test_every_slot_is_given_the_outputs_of_its_sources() -> None:
    x, seen = torch.tensor([2.0]), []

    def step(*inputs: torch.Tensor) -> torch.Tensor:
        seen.append([float(each) for each in inputs])
        return torch.stack(inputs).sum(dim=0) + 1

    assert FORK.run([step] * 4, {IMAGE: x}).tolist() == [13.0]
    assert seen == [[2], [3], [3, 4], [8, 4]]
    assert FORK.run([step] * 2, {0: torch.tensor([3.0]), 1: torch.tensor([4.0])}).tolist() == [13.0]


def test_outputs_are_held_while_later_slots_take_them() -> None:
    assert [FORK.held(slot) for slot in range(4)] == [[], [], [], []]
    assert [FORK.needed_later(slot) for slot in range(4)] == [(False,), (True,), (False, True), (False, False)]
    assert Wiring(sources=((IMAGE,), (0,), (1,), (2, 0))).held(2) == [0]


@pytest.mark.parametrize("sources", [((IMAGE,), (1,)), ((IMAGE,), ()), ((-2,),)])
def test_slots_take_what_ran_before_them(sources: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="expected sources among the slots before it, found"):
        Wiring(sources=sources)
