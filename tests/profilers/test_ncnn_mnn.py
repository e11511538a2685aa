"""ncnn and MNN: what they take of our blocks, and what they say of the rest.

The suite over all workers is in test_workers.py.
"""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from general_blocks import GENERAL_BLOCKS
from onnx import TensorProto, helper

from profilers import Device, DeviceError, MeasurementError, Model, Profiler, load_devices
from profilers.conversion import convert
from profilers.runtime import RUNTIMES
from profilers.worker_loop import load, random_inputs
from search_spaces import Block
from search_spaces.blocks.cell_operations import NodeAddition
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.mixconv import MixConv
from search_spaces.blocks.shuffle import ShuffleUnit
from search_spaces.onnx_export import export_block

pytestmark = pytest.mark.timeout(120)

BLOCKS: tuple[Block, ...] = (
    *GENERAL_BLOCKS,
    MBConv(in_channels=16, out_channels=24, input_size=8, stride=2, kernel=5, expansion=3, act="hswish", se_ratio=0.25),
    MixConv(in_channels=16, out_channels=16, input_size=8, kernels=(3, 5)),
    ShuffleUnit(in_channels=16, out_channels=16, input_size=8, kernel=3),
    NodeAddition(in_channels=16, out_channels=16, input_size=8),
)


def _row(name: str) -> object:
    runtime = RUNTIMES[name]
    missing = [module for module in (*runtime.packages, *runtime.converter_packages) if find_spec(module) is None]
    return pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=f"needs hwnas[{runtime.extra}]"))


BOTH = pytest.mark.parametrize("name", [_row("ncnn"), _row("mnn")])


def _save(path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, list[int]], kind: int, y: list[int]) -> Path:
    """A model of those inputs, all of one kind, that gives floats [y]."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()]
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, y)
    table = helper.make_tensor("table", TensorProto.FLOAT, [12, 4], np.arange(48, dtype=np.float32) / 48)
    graph = helper.make_graph(nodes, "g", values, [gives], [table])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@BOTH
def test_blocks_of_all_kinds_are_timed_and_compute_the_same(name: str, tmp_path: Path) -> None:
    models = [Model(key=b.key, path=export_block(b, tmp_path)) for b in BLOCKS[:-1]]
    result = Profiler(device=Device(name="test", runtime=name), rounds=2).measure(models, tmp_path / "j")
    assert {m.key: m.error for m in result.measurements} == dict.fromkeys((m.key for m in models), None)
    assert result.worker["inference_precision"] == "fp32"


@BOTH
def test_batches_words_and_two_inputs_come_out_as_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    models = [
        export_block(BLOCKS[3], tmp_path, batch=3),
        _save(tmp_path / "w.onnx", [helper.make_node("Gather", ["table", "x"], ["y"])], {"x": [1, 5]}, 7, [1, 5, 4]),
        _save(tmp_path / "s.onnx", [helper.make_node("Sub", ["b", "a"], ["y"])], {"b": [1, 4], "a": [1, 4]}, 1, [1, 4]),
    ]
    part = load(RUNTIMES[name].worker).Runtime(1, {"arithmetic": "fp32"})
    for number, path in enumerate(models):
        folder = tmp_path / str(number)
        folder.mkdir()
        convert(path, folder, RUNTIMES[name], arithmetic="fp32", timeout_s=60.0)
        model = part.open(str(folder))
        first, values = (random_inputs(np.random.default_rng(seed), model.inputs) for seed in range(2))
        other, bound = model.bind(first), model.bind(values)
        model.run(other)
        model.run(bound)  # not on what ran before
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {n.name: v for n, v in zip(session.get_inputs(), values, strict=True)})
        (found,) = model.outputs(bound)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


UNKNOWN = {
    "ncnn": "ncnn cannot load it: layer Hardmax not exists or registered",
    "mnn": "Op Not Support: ONNX::Hardmax",
}


@BOTH
def test_what_a_runtime_does_not_know_is_told_in_its_own_words(name: str, tmp_path: Path) -> None:
    path = _save(tmp_path / "m.onnx", [helper.make_node("Hardmax", ["x"], ["y"])], {"x": [1, 4]}, 1, [1, 4])
    device, models = Device(name="test", runtime=name), [Model(key="m", path=path)]
    with pytest.raises(MeasurementError, match=UNKNOWN[name]):
        Profiler(device=device, rounds=2).measure(models, tmp_path / "j")


@BOTH
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="for processors that compute no fp16")
def test_half_precision_is_refused_where_the_processor_has_none(name: str, tmp_path: Path) -> None:
    device = Device(name="test", runtime=name, arithmetic="fp16")
    models = [Model(key="block", path=export_block(BLOCKS[3], tmp_path))]
    with pytest.raises(MeasurementError, match=r"this processor computes no fp16 .* set arithmetic: fp32"):
        Profiler(device=device, rounds=2).measure(models, tmp_path / "j")


@pytest.mark.parametrize("name", [_row("mnn")])
def test_conversions_of_layouts_are_told_by_the_names_that_tables_know(name: str, tmp_path: Path) -> None:
    residual = MBConv(in_channels=16, out_channels=16, input_size=8, kernel=3, expansion=3)
    models = [Model(key=b.family, path=export_block(b, tmp_path)) for b in (residual, BLOCKS[-1])]
    found = Profiler(device=Device(name="test", runtime=name)).inspect(models)
    first, *_, last, addition = found["mbconv"].operations
    assert (first, last, addition) == ("ReorderInput", "ReorderOutput", "Add")
    assert found["addition"].operations == ("Add",)


@pytest.mark.parametrize("name", [_row("ncnn")])
def test_bfloat16_is_computed_in_where_a_device_asks_for_it(name: str, tmp_path: Path) -> None:
    models = [Model(key="block", path=export_block(BLOCKS[3], tmp_path))]
    result = Profiler(device=Device(name="test", runtime=name, arithmetic="bf16"), rounds=2).measure(
        models, tmp_path / "j"
    )
    assert [m.error for m in result.measurements] == [None]
    assert result.worker["inference_precision"] == "bf16"


def test_an_arithmetic_that_a_runtime_has_not_is_refused(tmp_path: Path) -> None:
    (tmp_path / "devices.yaml").write_text("mine: {runtime: mnn, arithmetic: bf16}\n")
    with pytest.raises(DeviceError, match="runtime mnn computes in fp32 or fp16, not in bf16"):
        load_devices(tmp_path / "devices.yaml")
