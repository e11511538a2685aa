"""Every network of the zoo becomes a space whose networks are right."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from traced_checks import (
    drawn,
    lively,
    require_equal_costs,
    require_filled,
    require_promised,
    require_same_forms,
    require_traced,
    space_of,
)
from traced_zoo import ZOO

from search_spaces import make_space
from search_spaces.traced.block import TracedBlock, graph_text
from search_spaces.traced.file import save_space
from search_spaces.traced.overview import elastic_share
from search_spaces.traced.space import TracedSpace

FIXED = {"running sum": 0.1, "frequencies": 0.1}
"""Specimens of which no more than a share need be elastic."""


@cache
def _module(name: str) -> nn.Module:
    specimen = ZOO[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return lively(specimen.make(), specimen.input_shape)


@cache
def _space(name: str) -> TracedSpace:
    return space_of(_module(name), ZOO[name].input_shape)


pytestmark = pytest.mark.parametrize("name", ZOO)


def test_the_traced_network_computes_what_the_module_computes(name: str) -> None:
    require_traced(_module(name), _space(name))


def test_slices_built_networks_and_onnx_files_compute_the_same(name: str, tmp_path: Path) -> None:
    space = _space(name)
    supernet = space.supernet().eval()
    for number, architecture in enumerate(drawn(space, 5)):
        require_same_forms(space, supernet, architecture, tmp_path if ZOO[name].is_exportable and number < 4 else None)
        require_filled(space.slice_of(architecture).graph)


def test_costs_of_blocks_sum_to_those_of_networks(name: str) -> None:
    for architecture in drawn(_space(name), 5):
        require_equal_costs(_space(name), architecture)


def test_most_of_it_can_be_chosen(name: str) -> None:
    assert elastic_share(_space(name)) >= FIXED.get(name, 0.6), _space(name).reasons


def test_blocks_give_the_promised_shapes_and_export(name: str, tmp_path: Path) -> None:
    blocks = [block for block in _space(name).candidates if isinstance(block, TracedBlock)]
    assert len(blocks) == len(_space(name).candidates)
    for block in blocks[:: max(1, len(blocks) // 10)]:
        require_promised(block, tmp_path if ZOO[name].is_exportable else None)


def test_keys_are_equal_only_for_equal_graphs(name: str) -> None:
    blocks = [block for block in _space(name).candidates if isinstance(block, TracedBlock) and not block.is_identity]
    assert len({block.key for block in blocks}) == len(blocks) == len({graph_text(block.graph) for block in blocks})


def test_block_indices_are_those_of_each_network(name: str) -> None:
    space = _space(name)
    rows = space.sample_many(20, np.random.default_rng(0))
    together = space.block_indices(rows)
    assert together.shape[0] == 20
    for row, found in zip(rows, together, strict=True):
        assert (space.block_indices(row[None])[0] == found).all()


def test_canonical_forms_are_the_same_networks(name: str) -> None:
    space = _space(name)
    for architecture in drawn(space, 100, seed=3):
        form = space.canonical(architecture)
        assert space.canonical(form) == form
        assert space.blocks(form) == space.blocks(architecture)
        if form != architecture:
            assert graph_text(space.slice_of(form).graph) == graph_text(space.slice_of(architecture).graph)


def test_it_is_read_back_from_a_file(name: str, tmp_path: Path) -> None:
    space, path = _space(name), tmp_path / "own.safetensors"
    save_space(space, path)
    found = make_space(replace(space.spec, name=str(path)))
    assert isinstance(found, TracedSpace) and found.candidates == space.candidates
