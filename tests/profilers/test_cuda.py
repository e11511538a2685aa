"""Code for NVIDIA GPUs, generated without one; running it needs the card and is not tested here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import onnx
import pytest

from search_spaces import Block, SpaceSpec, make_space
from search_spaces.onnx_export import export_block

pytest.importorskip("tvm", reason="needs apache-tvm")
pytestmark = pytest.mark.slow


def _cuda_source(block: Block, folder: Path) -> str:
    """The CUDA that TVM generates for a block."""
    from tvm import compile as tvm_compile
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    from profilers.worker_tvm import find_target

    target = find_target("nvidia/geforce-rtx-3090")
    module = from_onnx(onnx.load(export_block(block, folder)), keep_params_in_input=False)
    with target:
        executable = tvm_compile(module, target, relax_pipeline=relax.pipeline.get_default_pipeline(target))
    (host,) = executable.mod.imports
    (device,) = host.imports
    assert device.kind == "cuda"
    return str(device.inspect_source())


def _kinds_of_blocks() -> list[Block]:
    """One block of fbnet-s of every family, kernel, stride and number of groups, and with and without an expansion."""
    space = make_space(SpaceSpec(name="fbnet-s", input_size=32, num_classes=10))
    names = ("family", "kernel", "stride", "groups")
    kinds = {}
    for block in space.candidates:
        if not block.is_identity:
            expands = getattr(block, "expansion", 1) > 1
            kinds.setdefault((*(getattr(block, name, None) for name in names), expands), block)
    return list(kinds.values())


def test_every_kind_of_block_of_fbnet_compiles_with_nvcc(tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("needs nvcc")
    parts = [_cuda_source(block, tmp_path) for block in _kinds_of_blocks()]
    assert len(parts) >= 12
    assert all("__global__" in code for code in parts)
    for number, code in enumerate(parts):
        (tmp_path / f"{number}.cu").write_text(code)
    command = [nvcc, "-ptx", "-arch=sm_86", "--threads", "2", *(str(tmp_path / f"{n}.cu") for n in range(len(parts)))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-1000:]
    assert len(list(tmp_path.glob("*.ptx"))) == len(parts)
