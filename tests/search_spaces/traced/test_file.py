"""Spaces of networks that somebody brings, as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from traced_checks import drawn, images_of, lively, space_of
from traced_zoo import ZOO

from search_spaces import SpaceError, make_space
from search_spaces.traced.file import save_space
from search_spaces.traced.ladder import Pins
from search_spaces.traced.space import TracedSpace


@pytest.mark.parametrize("name", ["inverted residual", "swin", "shared layer", "in place"])
def test_a_file_gives_the_same_space(name: str, tmp_path: Path) -> None:
    specimen, path = ZOO[name], tmp_path / "own.safetensors"
    space = space_of(lively(specimen.make(), specimen.input_shape), specimen.input_shape, Pins(shares=(0.5,)))
    save_space(space, path)
    found = make_space(replace(space.spec, name=str(path)))
    assert isinstance(found, TracedSpace)
    assert found.decisions == space.decisions and found.candidates == space.candidates
    assert found.elastic.ranks == space.elastic.ranks
    with torch.inference_mode():
        for architecture in drawn(space, 2):
            expected = space.supernet().eval()(images_of(space), architecture)
            assert torch.equal(found.supernet().eval()(images_of(space), architecture), expected)
    for block in found.candidates[::5]:
        block.build().eval()(*(torch.randn(1, *shape) for shape in block.input_shapes))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    space = space_of(lively(ZOO["plain"].make(), (3, 12, 12)), (3, 12, 12))
    with pytest.raises(SpaceError, match="no file"):
        make_space(replace(space.spec, name=str(tmp_path / "none.safetensors")))
    path = tmp_path / "own.safetensors"
    save_space(space, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(SpaceError, match=r"cannot be read|damaged"):
        make_space(replace(space.spec, name=str(path)))
