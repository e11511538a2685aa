"""Networks as chains of blocks, and blocks of them in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from onnx_models import mixed_int8
from onnx_models.chain import chain_blocks
from onnx_models.errors import ExportError
from onnx_models.export import export_module
from onnx_models.int8 import prepare
from onnx_models.mixed_int8 import MixedNetwork, written
from onnx_models.session import OnnxNetwork, operations


class _Residual(nn.Module):
    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(num_in, num_out, 3, padding=1), nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1)
        self.shortcut = nn.Conv2d(num_in, num_out, 1)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv2(torch.relu(self.bn(self.conv1(x_NCHW)))) + self.shortcut(x_NCHW))


def small_network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), _Residual(4, 8), nn.MaxPool2d(2), _Residual(8, 8))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 5), nn.Softmax(dim=1)).eval()


IMAGES = [torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(number)) for number in range(8)]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    export_module(small_network(), tmp_path / "m.onnx", input_shapes=[(1, 1, 8, 8)])
    prepare(tmp_path / "m.onnx", tmp_path / "p.onnx")
    return tmp_path / "p.onnx"


def test_blocks_are_cut_where_one_tensor_passes(prepared: Path) -> None:
    blocks = chain_blocks(prepared, most=9)
    names = ["0/Conv to 1/Relu", "2/conv1/Conv to 3/MaxPool", "4/conv1/Conv to 5/Flatten", "6/Gemm to 7/Softmax"]
    assert [block.name for block in blocks] == names
    assert [block.macs for block in blocks] == [
        64 * 4 * 9,
        64 * 8 * (4 * 9 + 8 * 9 + 4),
        16 * 8 * (8 * 9 + 8 * 9 + 8),
        128 * 5,
    ]
    nodes = [node.name for node in onnx.load(prepared).graph.node]
    assert [name for block in blocks for name in block.nodes] == nodes


@pytest.mark.parametrize(("most", "expected"), [(3, [0, 2, 4]), (2, [0, 4]), (1, [0]), (0, [0])])
def test_the_smallest_neighbours_are_put_together(prepared: Path, most: int, expected: list[int]) -> None:
    merged = chain_blocks(prepared, most=most)
    assert [int(block.nodes[0].strip("/").split("/")[0]) for block in merged] == expected
    assert sum(len(block.nodes) for block in merged) == len(onnx.load(prepared).graph.node)


def test_networks_that_have_no_blocks_are_refused(prepared: Path, tmp_path: Path) -> None:
    export_module(nn.ReLU(), tmp_path / "r.onnx", input_shapes=[(1, 3)])
    with pytest.raises(ExportError, match=r"r\.onnx has no convolution and no product"):
        chain_blocks(tmp_path / "r.onnx", most=9)
    model = onnx.load(prepared)
    model.graph.node[0].name = ""
    onnx.save(model, tmp_path / "n.onnx")
    with pytest.raises(ExportError, match="expected a name of its own for each node"):
        chain_blocks(tmp_path / "n.onnx", most=9)


CHOSEN = [tuple(i == block for i in range(4)) for block in range(4)] + [
    (True, False, True, False),
    (False, True, True, False),
    (True, True, True, True),
]
"""Each block alone, two that are apart, two that are neighbours, and all."""


def test_exactly_the_blocks_that_were_asked_for_are_in_int8(prepared: Path, tmp_path: Path) -> None:
    del prepared
    folder = tmp_path / "mixed"
    folder.mkdir()
    network = MixedNetwork(tmp_path / "m.onnx", folder, IMAGES, method="MinMax", most=9)
    expected = torch.cat([OnnxNetwork(tmp_path / "m.onnx")(x) for x in IMAGES])
    num_convs = (1, 3, 3, 0)
    assert network.model((False,) * 4) == tmp_path / "m.onnx"
    for precisions in CHOSEN:
        path = network.model(precisions)
        assert path.name == f"{written(precisions)}.onnx"
        graph = onnx.load(path).graph
        produced = {name: node.op_type for node in graph.node for name in node.output}
        taken = {node.name: produced.get(node.input[1]) for node in graph.node if node.op_type in ("Conv", "Gemm")}
        for block, is_int8 in zip(network.blocks, precisions, strict=True):
            kinds = {taken[name] for name in block.nodes if name in taken}
            assert kinds == ({"DequantizeLinear"} if is_int8 else {None})
        found = operations(path)
        assert found.get("QLinearConv", 0) == sum(np.compress(precisions, num_convs))
        outputs = torch.cat([OnnxNetwork(path)(x) for x in IMAGES])
        assert outputs.numpy() == pytest.approx(expected.numpy(), abs=0.02) and torch.isfinite(outputs).all()
        assert "Softmax" in found  # in float, as at the end of any int8 model


def test_ranges_are_taken_once(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del prepared
    from onnxruntime.quantization import calibrate

    runs = []
    collect = calibrate.MinMaxCalibrater.collect_data
    monkeypatch.setattr(
        calibrate.MinMaxCalibrater, "collect_data", lambda *arguments: (runs.append(1), collect(*arguments))[1]
    )
    network = MixedNetwork(tmp_path / "m.onnx", tmp_path, IMAGES, method="MinMax", most=9)
    first, second = network.model((True, False, False, False)), network.model((True, True, True, True))
    assert len(runs) == 1
    before = first.stat().st_mtime_ns
    assert network.model((True, False, False, False)).stat().st_mtime_ns == before and second.is_file()


def test_models_are_the_same_with_kept_ranges(prepared: Path, tmp_path: Path) -> None:
    from onnx_models.int8 import quantize

    batches = [{"input": x.numpy()} for x in IMAGES]
    for name, ranges in (("a", None), ("b", tmp_path / "r.json"), ("c", tmp_path / "r.json")):
        quantize(prepared, tmp_path / name, batches, method="Percentile", ranges=ranges)
    outputs = [torch.cat([OnnxNetwork(tmp_path / name)(x) for x in IMAGES]) for name in "abc"]
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
    assert mixed_int8.written((True, False)) == "if"
