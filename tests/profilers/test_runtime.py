"""Runtimes are records: what depends on which one it is reads them, and a further one is an entry and a worker."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from onnx_models.parity import SAME_PROGRAM, Tolerance, difference
from onnx_models.precision import Precision
from profilers import Device, DeviceError, Model, Profiler
from profilers.device import load_devices
from profilers.errors import JournalError
from profilers.runtime import RUNTIMES, Runtime, runtime_of
from profilers.worker_options import OPTIONS, worker_options

WORKER = """
import json, sys
for line in sys.stdin:
    command = json.loads(line)
    if command["command"] == "start": answer = {"event": "started", "own": "1"}
    elif command["command"] == "open": answer = {"event": "opened", "index": command["index"]}
    else:
        for index in command["order"]:
            if command["announce"]: print(json.dumps({"event": "visiting", "index": index}), flush=True)
        times = [1000] * len(command["order"])
        answer = {"event": "round", "order": command["order"], "wall_ns": times, "cpu_ns": times}
    print(json.dumps(answer), flush=True)
"""


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=RUNTIMES)
def test_an_entry_names_what_there_is(runtime: Runtime) -> None:
    assert runtime.worker.is_file()
    assert {*runtime.device_fields} <= {field.name for field in fields(Device)}
    assert runtime.required_fields.keys() <= {*runtime.device_fields}
    assert {*runtime.options} <= OPTIONS.keys()
    assert all(file.is_file() for file in (*runtime.program, *filter(None, [runtime.converter])))
    assert runtime.reads_onnx or runtime.converter
    assert runtime.precisions and {*runtime.precisions} <= {*get_args(Precision)}


def test_workers_are_told_what_their_runtime_takes() -> None:
    assert worker_options(Device(name="a", runtime="onnxruntime", provider="cuda")) == {
        "provider": "cuda",
        "provider_options": None,
    }
    told = worker_options(Device(name="b", runtime="tvm", target="native"))
    assert (told["target"], told["rpc"], told["tuning"]) == ("native", None, None) and "provider" not in told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("runtime: tvm", "runtime tvm needs a target, such as native"),
        (
            "{runtime: onnxruntime, target: native}",
            "target belongs to devices of runtime tvm or openvino; set that runtime, or leave it out",
        ),
        ("{runtime: ./own.py, tuning: meta_schedule}", "tuning belongs to devices of runtime tvm; set"),
        ("{runtime: onnxruntime, arithmetic: bf16}", "arithmetic belongs to devices of runtime openvino or ncnn or"),
        ("{runtime: openvino, arithmetic: fp8}", "arithmetic"),
        ("{runtime: onnxruntime, provider: tpu}", "provider"),
        ("{runtime: tvm, target: native, provider: cuda}", "provider belongs to devices of runtime onnxruntime;"),
    ],
)
def test_a_field_of_another_runtime_is_refused(settings: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "devices.yaml").write_text(f"mine: {settings}\n" if "{" in settings else f"mine:\n  {settings}\n")
    with pytest.raises(DeviceError) as caught:
        load_devices(tmp_path / "devices.yaml")
    assert message in str(caught.value)


def test_measurements_of_a_worker_that_was_changed_do_not_mix(tmp_path: Path) -> None:
    worker, model = tmp_path / "own.py", tmp_path / "m.onnx"
    worker.write_text(WORKER)
    model.write_bytes(b"")
    assert runtime_of(str(worker)).worker == worker
    profiler = Profiler(device=Device(name="own", runtime=str(worker)), rounds=2)
    for _ in range(2):
        result = profiler.measure([Model(key="m", path=model)], tmp_path / "journal")
        assert result.measurements[0].wall_ns == (1000, 1000)
    worker.write_text(WORKER.replace("1000", "2000"))
    with pytest.raises(JournalError, match=r"begun with another worker_sha256; .* --fresh"):
        profiler.measure([Model(key="m", path=model)], tmp_path / "journal")


def test_what_measurements_depend_on_is_among_a_devices_settings() -> None:
    device = Device(name="a", runtime="openvino", target="GPU", arithmetic="bf16")
    assert device.settings()["target"] == "GPU" and device.settings()["arithmetic"] == "bf16"
    assert "arithmetic" not in Device(name="a", runtime="openvino").settings()
    options: dict[str, str | int | float | bool] = {"device_type": "NPU"}
    device = Device(name="a", runtime="onnxruntime", provider="OpenVINOExecutionProvider", provider_options=options)
    assert device.settings()["provider_options"] == options
    assert worker_options(device) == {"provider": "OpenVINOExecutionProvider", "provider_options": options}


@pytest.mark.parametrize(
    ("tolerance", "found", "expected", "agrees"),
    [
        (Tolerance(share=1e-4, smallest=1e-9), 0.0, 3e-7, False),
        (Tolerance(share=1e-4, smallest=1e-9), 3.00001e-7, 3e-7, True),
        (Tolerance(share=0.05, smallest=1e-9), 2.9e-7, 3e-7, True),
        (SAME_PROGRAM, 0.0, 3e-7, True),
        (SAME_PROGRAM, 9.98, 10.0, False),
        (Tolerance(share=0.0, at_least=1.0), 254.0, 255.0, True),
        (Tolerance(share=0.0, at_least=1.0), 253.0, 255.0, False),
    ],
)
def test_outputs_may_differ_by_what_two_programs_do(
    tolerance: Tolerance, found: float, expected: float, agrees: bool
) -> None:
    assert (difference([[found]], [[expected]], tolerance) is None) == agrees
