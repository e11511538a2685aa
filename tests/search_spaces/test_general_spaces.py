"""Spaces whose blocks are of other shapes than square feature maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from general_blocks import Patches, TokenMlp
from samples import synthetic_table

from lut import load_table, save_table
from lut.model import LatencyModel
from search_spaces import SpaceError, SpaceSpec, make_space
from search_spaces.chain import ChainSpace
from search_spaces.cost import GraphCosts, module_cost
from search_spaces.memory import MemoryModel
from search_spaces.onnx_export import export_network

SPEC = SpaceSpec(name="tokens", input_size=(6, 8), num_classes=8)


def _space(spec: SpaceSpec = SPEC, *, tokens: int = 12) -> ChainSpace:
    """Patches of 2x2 pixels as tokens, and perceptrons on them of three widths."""
    layers = [[TokenMlp(tokens=tokens, hidden=hidden) for hidden in (8, 16, 32)] for _ in range(3)]
    return ChainSpace(
        spec, stem=[Patches()], layers=layers, choice_names=["h8", "h16", "h32"], head=[TokenMlp(tokens=tokens)]
    )


def test_networks_of_tokens_cost_what_their_blocks_do(tmp_path: Path) -> None:
    space = _space()
    costs, memory = GraphCosts(space), MemoryModel(space, tmp_path)
    for architecture in space.sample_many(5, np.random.default_rng(0)).tolist():
        module = space.build(tuple(architecture))
        assert costs.of(tuple(architecture)) == module_cost(module, torch.empty(1, *SPEC.input_shape))
        weights = 4 * sum(p.numel() for p in module.parameters())
        assert memory.peak_bytes(np.array([architecture]))[0] > weights


def test_subnets_and_exported_networks_compute_what_the_supernet_does(tmp_path: Path) -> None:
    space, architecture = _space(), (0, 2, 1)
    supernet = space.supernet().eval()
    x_NCHW = torch.randn(2, *SPEC.input_shape)
    torch.testing.assert_close(supernet.subnet(architecture)(x_NCHW), supernet(x_NCHW, architecture))
    session = onnxruntime.InferenceSession(export_network(space, architecture, tmp_path))
    assert (session.get_inputs()[0].shape, session.get_outputs()[0].shape) == ([1, 3, 6, 8], [1, 12, 8])


def test_tables_of_tokens_predict(tmp_path: Path) -> None:
    space = _space()
    save_table(synthetic_table(space), tmp_path / "t.json")
    model = LatencyModel(space, load_table(tmp_path / "t.json"))
    assert (model.predict_ms(space.sample_many(4, np.random.default_rng(0))) > 0).all()


def test_blocks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"blocks do not fit: patches.* gives .*\(12, 8\).* takes .*\(13, 8\)"):
        _space(tokens=13)


def test_the_space_of_a_spec_needs_a_name_that_exists() -> None:
    with pytest.raises(SpaceError):
        make_space(SPEC)
