"""Models in a runtime's own format, proven by what that runtime computes from the files that are shipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.export.own_format import taken_by, write_own_formats
from onnx_models.precision import in_precision
from onnx_models.session import OnnxNetwork
from profilers import Device
from profilers.installed import installed_runtimes
from profilers.runtime import RUNTIMES
from search_spaces import SpaceSpec, make_space
from search_spaces.onnx_export import export_network

INSTALLED = {found.name: found for found in installed_runtimes()}
OWN = [
    pytest.param(name, marks=pytest.mark.skipif(bool(INSTALLED[name].remedy), reason=f"needs {INSTALLED[name].remedy}"))
    for name, runtime in RUNTIMES.items()
    if runtime.converter
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle's folder with a float and a quantized network of batches of two."""
    space = make_space(SpaceSpec(name="nasbench-macro", input_size=8, width=0.25, num_classes=10))
    exported = export_network(space, space.sample(np.random.default_rng(0)), tmp_path / "made", batch=2)
    quantized = in_precision(exported, "int8", is_part=False)
    (tmp_path / "model.onnx").write_bytes(exported.read_bytes())
    (tmp_path / "model.int8.onnx").write_bytes(quantized.read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", OWN)
def test_a_runtime_computes_from_its_own_format_what_onnx_runtime_computes(name: str, folder: Path) -> None:
    device, told = Device(name="test", runtime=name, batch=2, open_timeout_s=60.0), list[str]()
    x_NCHW = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def score(network: Callable[[torch.Tensor], torch.Tensor]) -> Mapping[str, float]:
        expected_NK, found_NK = OnnxNetwork(folder / "model.onnx")(x_NCHW), network(x_NCHW)
        assert found_NK.shape == expected_NK.shape and found_NK.dtype == torch.float32
        return {"difference": float((found_NK - expected_NK).abs().max() / expected_NK.abs().max())}

    found = write_own_formats(folder, ["model.onnx", "model.int8.onnx", "other.onnx"], device, score, told.append)
    runtime = RUNTIMES[name]
    assert (told, [*found]) == ([], taken_by(runtime, ["model.onnx", "model.int8.onnx"]))
    assert found["model.onnx"].test_metrics["difference"] < 1e-3
    for source, own in found.items():
        stem = source.removesuffix(".onnx")
        assert [file.name for file in own.files] == [f"{stem}{suffix}" for suffix in runtime.own_suffixes]
        facts = own.as_dict()
        assert facts["size_bytes"] == sum(file.stat().st_size for file in own.files)
        assert len(facts["weights"]) == len(runtime.own_suffixes) - 1


def test_a_model_that_cannot_be_converted_is_told_and_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profilers.conversion.missing_packages", lambda _: ["openvino"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    told: list[str] = []
    device = Device(name="test", runtime="openvino")
    assert write_own_formats(folder, ["model.onnx"], device, lambda _: {}, told.append) == {}
    assert told == [
        "model.onnx is not there in openvino's own format: openvino is not installed here: "
        "pip install 'hwnas[openvino]'"
    ]
    assert write_own_formats(folder, ["model.onnx"], Device(name="t", runtime="onnxruntime"), lambda _: {}, print) == {}
