"""What models end in behind their scores."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from onnx_models.ending import Ending, ended, scores_of
from onnx_models.export import export_module
from onnx_models.int8 import prepare, quantize
from onnx_models.pixels import with_preprocessing
from onnx_models.session import OnnxNetwork

SCORES_NK = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.0, 4.0]])


@pytest.mark.parametrize("ending", [None, *get_args(Ending)])
def test_scores_are_found_again(ending: Ending | None) -> None:
    outputs = ended(nn.Identity(), ending)(SCORES_NK)
    found = scores_of(outputs, ending)
    shift = (found - SCORES_NK)[:, :1]
    torch.testing.assert_close(found - shift, SCORES_NK, rtol=1e-4, atol=1e-4)
    if ending in (None, "sigmoid"):
        torch.testing.assert_close(found, SCORES_NK, rtol=1e-4, atol=1e-4)


def test_certain_outputs_have_finite_scores() -> None:
    for ending in get_args(Ending):
        outputs = ended(nn.Identity(), ending)(torch.tensor([[200.0, -200.0]]))
        found = scores_of(outputs, ending)
        assert found.isfinite().all() and found[0, 0] > found[0, 1]


def _model(folder: Path, ending: Ending | None) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    export_module(ended(layers, ending), folder / "m.onnx", input_shapes=[(1, 1, 8, 8)])
    return folder / "m.onnx"


@pytest.mark.parametrize("ending", ["sigmoid", "softmax"])
def test_probabilities_are_not_rounded_to_8_bits(ending: Ending, tmp_path: Path) -> None:
    prepare(_model(tmp_path, ending), tmp_path / "p.onnx")
    rng = np.random.default_rng(0)
    batches = [{"input": rng.standard_normal((1, 1, 8, 8), np.float32)} for _ in range(4)]
    quantize(tmp_path / "p.onnx", tmp_path / "q.onnx", batches)
    nodes = onnx.load(tmp_path / "q.onnx").graph.node
    assert nodes[-1].op_type.lower() == ending and any(node.op_type == "QuantizeLinear" for node in nodes)
    x_NCHW = torch.from_numpy(rng.standard_normal((3, 1, 8, 8), np.float32))
    found, expected = OnnxNetwork(tmp_path / "q.onnx")(x_NCHW), OnnxNetwork(tmp_path / "m.onnx")(x_NCHW)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("ending", [None, *get_args(Ending)])
def test_pixels_become_probabilities_once(ending: Ending | None, tmp_path: Path) -> None:
    with_preprocessing(_model(tmp_path, ending), tmp_path / "pixels.onnx", mean=[0.5], std=[0.25])
    pixels = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = OnnxNetwork(tmp_path / "pixels.onnx")
    given = OnnxNetwork(tmp_path / "m.onnx")((pixels.float() / 255 - 0.5) / 0.25)
    expected = given if ending in ("sigmoid", "softmax") else given.softmax(dim=1)
    assert network.gives_probabilities and network.takes_pixels
    torch.testing.assert_close(network(pixels), expected, rtol=1e-4, atol=1e-6)
