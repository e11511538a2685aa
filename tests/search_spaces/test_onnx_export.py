"""The door to ONNX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from general_blocks import Join
from kept_files import DAMAGES, exchange
from torch import nn

from onnx_models.export import export_module
from safe_files import WriteError
from search_spaces import ExportError
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.onnx_export import export_block

BLOCK = ConvBnAct(in_channels=4, out_channels=8, input_size=6, kernel=3)


def test_batchnorm_is_folded_and_the_module_left_as_it_was(tmp_path: Path) -> None:
    module = BLOCK.build().train()
    export_module(module, tmp_path / "m.onnx", input_shapes=[(1, 4, 6, 6)])
    assert module.training
    assert "BatchNormalization" not in {n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node}
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_dynamic_batch_takes_any_batch_and_static_only_its_own(tmp_path: Path) -> None:
    module = BLOCK.build().eval()
    x_NCHW = torch.randn(5, 4, 6, 6)
    for name, is_dynamic in (("dynamic", True), ("static", False)):
        export_module(module, tmp_path / name, input_shapes=[(1, 4, 6, 6)], dynamic_batch=is_dynamic)
    dynamic = onnxruntime.InferenceSession(tmp_path / "dynamic", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(
        dynamic.run(None, {"input": x_NCHW.numpy()})[0], module(x_NCHW).detach().numpy(), atol=1e-5
    )
    static = onnxruntime.InferenceSession(tmp_path / "static", providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match=r"invalid dimensions|INVALID_ARGUMENT"):
        static.run(None, {"input": x_NCHW.numpy()})


def test_same_key_gives_same_bytes_and_is_exported_once(tmp_path: Path) -> None:
    one, other = export_block(BLOCK, tmp_path / "one"), export_block(BLOCK, tmp_path / "other")
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()
    before = one.stat().st_mtime_ns
    assert export_block(BLOCK, tmp_path / "one").stat().st_mtime_ns == before
    assert export_block(BLOCK, tmp_path / "one", is_fresh=True).stat().st_mtime_ns > before
    assert export_block(BLOCK, tmp_path / "one", batch=2) != one


def test_several_inputs_have_names_of_their_own_and_one_open_batch(tmp_path: Path) -> None:
    module, path = Join().build().eval(), tmp_path / "m.onnx"
    export_module(module, path, input_shapes=[(1, *shape) for shape in Join().input_shapes], dynamic_batch=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_inputs()] == ["input", "input_1"]
    x_NCHW, gates_NC = torch.randn(3, 4, 6, 9), torch.randn(3, 4)
    (found,) = session.run(None, {"input": x_NCHW.numpy(), "input_1": gates_NC.numpy()})
    np.testing.assert_allclose(found, module(x_NCHW, gates_NC).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_export_is_made_again(damage: Callable[[Path], object], tmp_path: Path) -> None:
    path = export_block(BLOCK, tmp_path)
    content = path.read_bytes()
    damage(path)
    assert export_block(BLOCK, tmp_path).read_bytes() == content


def test_another_blocks_export_is_noticed(tmp_path: Path) -> None:
    path, other = export_block(BLOCK, tmp_path), export_block(replace(BLOCK, kernel=5), tmp_path)
    content = path.read_bytes()
    exchange(path, other)
    assert export_block(BLOCK, tmp_path).read_bytes() == content


def test_a_folder_that_cannot_be_written_to_is_no_failure_of_the_block(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"cannot write .*; give another folder"):
        export_block(BLOCK, tmp_path / "file")


def test_export_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    export_block(BLOCK, tmp_path)
    assert torch.equal(torch.rand(1), expected)


class _Inexpressible(nn.Module):
    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x_NCHW)


def test_inexpressible_module_is_an_export_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot export _Inexpressible"):
        export_module(_Inexpressible(), tmp_path / "m.onnx", input_shapes=[(1, 1, 4, 4)])
    assert not list(tmp_path.iterdir())
