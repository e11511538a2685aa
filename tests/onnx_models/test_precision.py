"""int8 models from the float ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from general_blocks import Join
from kept_files import DAMAGES, exchange
from samples import small_spec

from onnx_models.precision import in_precision
from search_spaces import ExportError, make_space
from search_spaces.blocks.mbconv import MBConv
from search_spaces.onnx_export import export_block, export_network

BLOCK = MBConv(in_channels=8, out_channels=8, input_size=8, kernel=3, expansion=3)


def test_float_stays_the_same_file(tmp_path: Path) -> None:
    path = export_block(BLOCK, tmp_path)
    assert in_precision(path, "fp32", is_part=True) == path


def test_a_part_of_several_inputs_takes_quantized_tensors_where_the_quantizer_knows_how(tmp_path: Path) -> None:
    path = in_precision(export_block(Join(), tmp_path), "int8", is_part=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    types = {node.name: node.type for node in session.get_inputs()}
    assert list(types.values()) == ["tensor(uint8)", "tensor(float)"]  # Unsqueeze has no quantized form
    x, gates = (np.full((1, *shape), 128) for shape in Join().input_shapes)
    names = list(types)
    (out,) = session.run(None, {names[0]: x.astype(np.uint8), names[1]: gates.astype(np.float32)})
    assert out.dtype == np.uint8 and out.shape == (1, *Join().output_shape)


def test_a_part_takes_and_gives_quantized_tensors(tmp_path: Path) -> None:
    path = in_precision(export_block(BLOCK, tmp_path), "int8", is_part=True)
    model = onnx.load(path)
    kinds = {model.graph.input[0].type.tensor_type.elem_type, model.graph.output[0].type.tensor_type.elem_type}
    assert kinds == {onnx.TensorProto.UINT8}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {session.get_inputs()[0].name: np.full((1, 8, 8, 8), 128, np.uint8)})
    assert out.dtype == np.uint8 and out.shape == (1, 8, 8, 8)
    before = path.stat().st_mtime_ns
    assert in_precision(export_block(BLOCK, tmp_path), "int8", is_part=True).stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_copy_is_made_again(damage: Callable[[Path], object], tmp_path: Path) -> None:
    path = in_precision(export_block(BLOCK, tmp_path), "int8", is_part=True)
    content = path.read_bytes()
    damage(path)
    assert in_precision(export_block(BLOCK, tmp_path), "int8", is_part=True).read_bytes() == content


def test_a_copy_of_other_weights_or_another_block_is_made_again(tmp_path: Path) -> None:
    float_path = export_block(BLOCK, tmp_path)
    path = in_precision(float_path, "int8", is_part=True)
    content = path.read_bytes()
    other = in_precision(export_block(replace(BLOCK, kernel=5), tmp_path), "int8", is_part=True)
    exchange(path, other)
    assert in_precision(float_path, "int8", is_part=True).read_bytes() == content
    model = onnx.load(float_path)
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(2 * weights, model.graph.initializer[0].name))
    onnx.save(model, float_path)  # a network of the same name that was trained again
    assert in_precision(float_path, "int8", is_part=True).read_bytes() != content


@pytest.mark.parametrize("name", [pytest.param("autoformer", marks=pytest.mark.slow), "mobilevit", "nasbench-macro"])
def test_a_network_takes_and_gives_floats_near_those_of_the_float_model(name: str, tmp_path: Path) -> None:
    space = make_space(small_spec(name, width=0.5))
    path = export_network(space, (1,) * len(space.decisions), tmp_path)
    quantized = in_precision(path, "int8", is_part=False)
    x = {"input": np.random.default_rng(0).standard_normal((1, 1, 16, 16)).astype(np.float32)}
    outputs = [
        onnxruntime.InferenceSession(p, providers=["CPUExecutionProvider"]).run(None, x)[0] for p in (path, quantized)
    ]
    assert outputs[1].dtype == np.float32
    assert np.abs(outputs[0] - outputs[1]).max() < 0.15 * np.abs(outputs[0]).max()
    types = {n.op_type for n in onnx.load(quantized).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= types


def test_what_cannot_be_quantized_is_an_export_error(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"cannot quantize broken.onnx"):
        in_precision(tmp_path / "broken.onnx", "int8", is_part=True)
    assert [p.name for p in tmp_path.iterdir()] == ["broken.onnx"]
    with pytest.raises(ExportError, match=r"cannot quantize gone.onnx: cannot read"):
        in_precision(tmp_path / "gone.onnx", "int8", is_part=True)
