"""Every built-in runtime's worker, by one suite: what it times, what it refuses, and what a bad model costs.

A runtime that is not installed is skipped, with the extra that installs it.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from small_models import save_chain

from profilers import Device, MeasurementError, Model, Profiler
from profilers.conversion import converted
from profilers.errors import ConversionError
from profilers.events import Failed, Started
from profilers.installed import installed_runtimes
from profilers.runtime import RUNTIMES, Runtime
from profilers.transport import LocalTransport
from profilers.worker_client import WorkerClient
from profilers.worker_options import worker_options
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.onnx_export import export_block

pytestmark = pytest.mark.timeout(120)

INSTALLED = {found.name: found for found in installed_runtimes()}
PARTS = [name for name, runtime in RUNTIMES.items() if runtime.is_part]
BLOCK = ConvBnAct(in_channels=3, out_channels=8, input_size=8, kernel=3)


def _rows(names: list[str]) -> list[object]:
    """Runtimes that are installed; those that start slowly wait for the slow suite."""
    rows = []
    for name in names:
        found = INSTALLED[name]
        skip = pytest.mark.skipif(bool(found.remedy), reason=f"needs {found.remedy}")
        rows.append(pytest.param(name, marks=[skip, *[pytest.mark.slow] * RUNTIMES[name].starts_slowly]))
    return rows


def _device(name: str, **settings: object) -> Device:
    required = dict.fromkeys(RUNTIMES[name].required_fields, "native")
    return Device(name="test", runtime=name, open_timeout_s=60.0, **{**required, **settings})


def _client(device: Device) -> tuple[WorkerClient, Started | Failed]:
    """A worker, and what it says of itself."""
    client = WorkerClient(LocalTransport().start(RUNTIMES[device.runtime].program))
    return client, client.start(threads=1, cores=None, options=worker_options(device), timeout_s=60.0)


def _write(path: Path, nodes: list[onnx.NodeProto], shape: list[object], kind: int = TensorProto.FLOAT) -> Path:
    value = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _nothing(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _unknown(path: Path) -> Path:
    return _write(path, [helper.make_node("Unheard", ["x"], ["y"])], [1, 3, 8, 8])


def _free(path: Path) -> Path:
    return _write(path, [helper.make_node("Relu", ["x"], ["y"])], ["n", 3, 8, 8])


def _cut(path: Path) -> Path:
    whole = export_block(BLOCK, path.parent / "whole")
    path.write_bytes(whole.read_bytes()[:-200])
    return path


BAD = {"nothing": _nothing, "an unknown operation": _unknown, "free": _free, "cut": _cut}


@pytest.mark.parametrize("name", _rows([*RUNTIMES]))
def test_what_a_runtime_cannot_take_fails_alone(name: str, tmp_path: Path) -> None:
    good = export_block(BLOCK, tmp_path)
    models = [
        Model(key=key, path=write(tmp_path / f"{number}.onnx")) for number, (key, write) in enumerate(BAD.items())
    ]
    result = Profiler(device=_device(name), rounds=2).measure([*models, Model(key="good", path=good)], tmp_path / "j")
    *bad, last = result.measurements
    assert (last.error, last.num_samples) == (None, 2)
    assert all(m.error and m.error.isprintable() and not m.num_samples for m in bad), bad
    assert result.worker[name]


@pytest.mark.parametrize("name", _rows(PARTS))
def test_a_worker_goes_on_after_a_command_that_it_does_not_know(name: str, tmp_path: Path) -> None:
    connection = LocalTransport().start(RUNTIMES[name].program)
    with connection:
        for command in ({"command": "round"}, {"command": "start", "threads": 1, "cores": None}, {"command": "fly"}):
            connection.send(command)
            answer = json.loads(connection.receive(60.0))
            assert answer["event"] == ("started" if command["command"] == "start" else "failed")
        connection.send({"command": "open", "index": 3, "path": str(tmp_path / "absent.onnx")})
        assert json.loads(connection.receive(60.0))["index"] == 3


@pytest.mark.parametrize("name", _rows(PARTS))
def test_more_threads_than_cores_and_absent_cores_are_refused(name: str) -> None:
    for threads, cores in ((4096, None), (1, [4095])):
        with LocalTransport().start(RUNTIMES[name].program) as connection:
            connection.send({"command": "start", "threads": threads, "cores": cores})
            assert json.loads(connection.receive(60.0))["event"] == "failed"


@pytest.mark.parametrize("name", _rows(PARTS))
def test_it_computes_from_a_file_what_onnx_runtime_computes(name: str, tmp_path: Path) -> None:
    path, device = export_block(BLOCK, tmp_path), _device(name)
    x = np.random.default_rng(1).standard_normal((5, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    runtime = RUNTIMES[name]
    opened = path if runtime.reads_onnx else converted(path, runtime, arithmetic="fp32", timeout_s=60.0)
    client, _ = _client(device)
    try:
        client.open(0, str(opened), timeout_s=60.0)
        client.compute(0, str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), timeout_s=60.0)
    finally:
        client.kill()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (node,) = session.get_inputs()
    expected = np.concatenate([session.run(None, {node.name: one[None]})[0] for one in x])
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", _rows([name for name in PARTS if RUNTIMES[name].tells_operations]))
def test_it_tells_the_operations_that_it_makes_of_a_block(name: str, tmp_path: Path) -> None:
    models = [Model(key="block", path=export_block(BLOCK, tmp_path)), Model(key="bad", path=_nothing(tmp_path / "m"))]
    found = Profiler(device=_device(name)).inspect(models)
    assert [*found] == ["block"] and found["block"].fallbacks == ()
    operations = found["block"].operations
    assert any("Conv" in operation for operation in operations) and not {"Input", "Const"} & {*operations}
    # Whatever layout it computes in, the output is as ONNX has it.
    assert "ReorderInput" not in operations or operations[-1] == "ReorderOutput"
    times_us = found["block"].operation_us
    assert len(times_us) == (len(operations) if name == "openvino" else 0)
    assert name != "openvino" or sum(times_us) > 0


@pytest.mark.parametrize("name", _rows(["openvino"]))
def test_openvino_computes_in_what_it_is_told_to_or_not_at_all(name: str, tmp_path: Path) -> None:
    path = export_block(BLOCK, tmp_path)
    outputs = {}
    for arithmetic in RUNTIMES[name].arithmetics:
        client, started = _client(_device(name, arithmetic=arithmetic))
        try:
            answer = client.open(0, str(path), timeout_s=60.0)
        finally:
            client.kill()
        if isinstance(answer, Failed):
            assert arithmetic != "fp32" and "was asked for" in answer.message
        else:
            outputs[arithmetic] = answer.outputs
            assert isinstance(started, Started)
            assert started.facts["inference_precision"] == {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}[arithmetic]
    assert len({*outputs.values()}) == len(outputs) >= 1  # each is rounded otherwise


WRONG = """
import numpy as np
class Runtime:
    def __init__(self, threads, options):
        self.facts, self.is_cpu = {"openvino": "0"}, True
    def open(self, path):
        return self
    inputs = [("x", [1, 3, 8, 8], "float32")]
    def bind(self, values): return values
    def run(self, bound): pass
    def outputs(self, bound): return [np.zeros((1, 8, 8, 8), np.float32)]
"""


def test_a_model_of_which_a_runtime_computes_something_else_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    wrong = Runtime(worker=tmp_path / "wrong.py", is_part=True, comparison="here")
    monkeypatch.setattr("profilers.session.runtime_of", lambda _: wrong)
    models = [Model(key="block", path=export_block(BLOCK, tmp_path))]
    with pytest.raises(MeasurementError, match="computes something else than this machine: outputs differ by"):
        Profiler(device=_device("openvino"), rounds=2).measure(models, tmp_path / "j")


CONVERTERS = {
    "no word": ("sys.exit(3)", "the converter ended with exit code 3"),
    "words": ("sys.exit('line\\nno such \\x1b[31mlayer')", r"cannot be converted: no such \[31mlayer"),
    "a crash": ("os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
    "nothing written": ("", "wrote nothing"),
    "no end": ("subprocess.Popen(['sleep', '600']); time.sleep(600)", "did not end within 0.5 s"),
}


@pytest.mark.parametrize("name", CONVERTERS)
def test_a_converter_that_fails_costs_one_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, words = CONVERTERS[name]
    runtime = _converting(tmp_path, code)
    with pytest.raises(ConversionError, match=words):
        timeout_s = 0.5 if name == "no end" else 20.0
        converted(save_chain(tmp_path / "m.onnx", (1, 8)), runtime, arithmetic="fp32", timeout_s=timeout_s)


def test_what_was_converted_is_kept_by_content_converter_and_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('.'); open(sys.argv[2] + '/model.own', 'w').write(sys.argv[3])"
    runtime, (one, other) = _converting(tmp_path, code), (save_chain(tmp_path / f"{n}.onnx", (1, n)) for n in (8, 9))

    def archive(model: Path, arithmetic: str = "fp32") -> Path:
        return converted(model, runtime, arithmetic=arithmetic, timeout_s=20.0)

    first = archive(one)
    assert archive(one) == first and len(count.read_text()) == 1
    assert len({first, archive(other), archive(one, "fp16")}) == 3 and len(count.read_text()) == 3
    assert zipfile.ZipFile(first).read("model.own") == b"fp32"
    first.write_bytes(b"damaged")
    assert zipfile.ZipFile(archive(one)).namelist() == ["model.own"]
    _converting(tmp_path, code + " # another version")
    assert archive(one) != first


def _converting(folder: Path, code: str) -> Runtime:
    """A runtime whose converter is that code."""
    converter = folder / "converter.py"
    converter.write_text(f"import os, subprocess, sys, time\n{code}\n")
    return Runtime(worker=folder / "none.py", converter=converter, reads_onnx=False)


def test_a_provider_that_leaves_everything_to_the_cpu_is_not_timed(tmp_path: Path) -> None:
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("needs a build of onnxruntime with AzureExecutionProvider")
    device = _device("onnxruntime", provider="AzureExecutionProvider")
    models = [Model(key="block", path=export_block(BLOCK, tmp_path))]
    with pytest.raises(MeasurementError, match=r"AzureExecutionProvider leaves all of it to the CPU .*Conv"):
        Profiler(device=device, rounds=2).measure(models, tmp_path / "j")


def test_a_provider_that_is_not_there_is_named_with_what_installs_it(tmp_path: Path) -> None:
    models = [Model(key="block", path=export_block(BLOCK, tmp_path))]
    for provider, words in (("QNNExecutionProvider", "install onnxruntime-qnn"), ("cuda", "install onnxruntime-gpu")):
        with pytest.raises(MeasurementError, match=f"cannot start a worker for test: .*{words}"):
            Profiler(device=_device("onnxruntime", provider=provider)).measure(models, tmp_path / "j")


@pytest.fixture
def openvino_provider() -> Device:
    """A device of ONNX Runtime with OpenVINO's provider, which is a package in place of onnxruntime."""
    folder = os.environ.get("HWNAS_ONNXRUNTIME_OPENVINO")
    if folder is None and "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("needs onnxruntime-openvino in a folder that HWNAS_ONNXRUNTIME_OPENVINO names")
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    return _device(
        "onnxruntime",
        provider="OpenVINOExecutionProvider",
        provider_options={"device_type": "CPU", "precision": "FP32", "num_of_threads": 1},
        command=("env", f"PYTHONPATH={path}", sys.executable),
    )


def test_what_openvinos_provider_leaves_to_the_cpu_is_counted(openvino_provider: Device, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Det", ["a"], ["y"])]
    shapes = [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8]), helper.make_tensor_value_info("y", 1, [1, 3])]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "partly.onnx")
    models = [
        Model(key="block", path=export_block(BLOCK, tmp_path)),
        Model(key="partly", path=tmp_path / "partly.onnx"),
    ]
    profiler = Profiler(device=openvino_provider, rounds=2)
    result = profiler.measure(models, tmp_path / "j")
    assert [m.error for m in result.measurements] == [None, None]
    found = profiler.inspect(models)
    assert (found["block"].fallbacks, found["partly"].fallbacks) == ((), ("Det",))
