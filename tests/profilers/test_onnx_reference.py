"""The runtime that docs/examples adds from outside: one worker file, one entry in a devices file, and this test."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime

from profilers import Device, Model, Profiler, load_devices
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.onnx_export import export_block

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
WORKER = EXAMPLES / "onnx_reference_worker.py"
BLOCK = ConvBnAct(in_channels=2, out_channels=4, input_size=6, kernel=3)


def test_it_times_a_block(tmp_path: Path) -> None:
    (described,) = load_devices(EXAMPLES / "onnx_reference.yaml").values()
    assert Path(described.runtime).name == WORKER.name
    device = Device(name=described.name, runtime=str(WORKER))
    models = [Model(key=BLOCK.key, path=export_block(BLOCK, tmp_path))]
    result = Profiler(device=device, rounds=3).measure(models, tmp_path / "journal")
    assert result.measurements[0].error is None and result.measurements[0].num_samples == 3
    assert set(result.worker) == {"onnx", "cpu_model", "cores"}


def test_it_computes_what_onnx_runtime_computes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("worker", WORKER)
    assert spec is not None and spec.loader is not None
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    path = export_block(BLOCK, tmp_path)
    _, inputs = model = worker.open_model(str(path))
    (expected,) = onnxruntime.InferenceSession(path).run(None, inputs)
    np.testing.assert_allclose(worker.run(model)[0], expected, rtol=1e-4, atol=1e-5)
