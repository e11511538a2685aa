"""Runs ONNX models with OpenVINO, on one of its devices: CPU, GPU, NPU, or what else it finds.

The runtime's part of a worker: `worker_loop.py` says how it is used. Stands alone with python, numpy and openvino. What
OpenVINO would choose by itself is set: threads, streams and precision. Without that, float models are computed in
bfloat16 wherever the processor can.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

try:
    import openvino
except ImportError as error:
    raise RuntimeError(f"{error}; install OpenVINO: pip install openvino") from error

PRECISIONS = {
    "fp32": ("f32", openvino.Type.f32),
    "fp16": ("f16", openvino.Type.f16),
    "bf16": ("bf16", openvino.Type.bf16),
}
"""What OpenVINO calls the arithmetics of hwnas, as a setting and as a type."""

Bound = tuple[openvino.InferRequest, list[np.ndarray]]
"""A request, and the values that it reads."""

NO_OPERATIONS = ("Input", "Output", "Const", "Parameter", "Result")
"""What a compiled model has besides operations."""

PRECISION = "INFERENCE_PRECISION_HINT"

NUM_TIMED = 40
"""Runs that operations are timed in."""

MICROSECOND = timedelta(microseconds=1)

NO_SETTINGS: Mapping[str, Any] = {}


class Runtime:
    """OpenVINO with one of its devices."""

    def __init__(self, threads: int, options: dict[str, Any]) -> None:
        self._core = openvino.Core()
        self._device = options.get("target") or "CPU"
        self.is_cpu = self._device == "CPU"
        if self._device not in self._core.available_devices and self._device.split(".")[0] not in self._families():
            raise RuntimeError(
                f"OpenVINO finds no {self._device} here, but {', '.join(self._core.available_devices)}: set target, "
                "or install its driver"
            )
        hint, self._type = PRECISIONS[options.get("arithmetic") or "fp32"]
        self._settings: dict[str, Any] = {PRECISION: hint, "NUM_STREAMS": 1}
        if self.is_cpu:
            # Streams and threads that are set explicitly go before the hint of a performance mode. The process is
            # pinned already; pinned again by OpenVINO, threads would go to cores of its own choice.
            self._settings |= {
                "INFERENCE_NUM_THREADS": threads,
                "ENABLE_CPU_PINNING": False,
                "ENABLE_HYPER_THREADING": True,
                "SCHEDULING_CORE_TYPE": "ANY_CORE",
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            }
        self._core.set_property({"CACHE_DIR": ""})
        self.facts: dict[str, object] = {
            "openvino": openvino.__version__,
            "openvino_device": str(self._core.get_property(self._device, "FULL_DEVICE_NAME")),
            "inference_precision": hint,
        }

    def open(self, path: str) -> Model:
        """Compile a model for the device: an ONNX file, or a folder with OpenVINO's own format.

        Raises:
            RuntimeError: the device computes in another precision than it was told.
        """
        compiled = self._compiled(path)
        found = compiled.get_property(PRECISION)
        if found != self._type:
            raise RuntimeError(
                f"{self._device} computes in {found.get_type_name()} where {self._type.get_type_name()} was asked for: "
                "set another arithmetic"
            )
        return Model(compiled)

    def inspect(self, path: str) -> tuple[list[str], list[str], list[float]]:
        """Return the operations of a compiled model, in the order they run, none of which it leaves to another device,
        and the microseconds that each takes.

        Conversions of layouts are called as ONNX Runtime calls its own: convolutions are computed channels last, or in
        blocks of channels.
        """
        compiled = self._compiled(path, {"PERF_COUNT": True})
        nodes = [(node.get_friendly_name(), node.get_rt_info()) for node in compiled.get_runtime_model().get_ops()]
        ran = sorted((int(fact["execOrder"].value), name, *_kind_and_layout(fact)) for name, fact in nodes)
        ran = [row for row in ran if row[2] not in NO_OPERATIONS]
        times_us = _times_us(compiled)
        is_timed = all(name in times_us for _, name, _, _ in ran)
        named = [_named(kind, layout) for _, _, kind, layout in ran]
        return named, [], [times_us[name] for _, name, _, _ in ran] if is_timed else []

    def _compiled(self, path: str, settings: Mapping[str, Any] = NO_SETTINGS) -> openvino.CompiledModel:
        file = Path(path) / "model.xml" if Path(path).is_dir() else Path(path)
        return self._core.compile_model(str(file), self._device, {**self._settings, **settings})

    def _families(self) -> set[str]:
        return {name.split(".")[0] for name in self._core.available_devices}


def _times_us(compiled: openvino.CompiledModel) -> dict[str, float]:
    """Return the microseconds that each operation takes, by its name in the compiled model.

    They are the lower quartile of its runs: what disturbs a run makes it longer.
    """
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        request.set_tensor(port, openvino.Tensor(np.zeros(port.shape, dtype=port.element_type.to_dtype())))
    runs: dict[str, list[float]] = {}
    for _ in range(NUM_TIMED):
        request.infer()
        for each in request.profiling_info:
            runs.setdefault(each.node_name, []).append(each.real_time / MICROSECOND)
    return {name: float(np.quantile(us, 0.25)) for name, us in runs.items()}


def _kind_and_layout(fact: Any) -> tuple[str, str]:
    return str(fact["layerType"].value), str(fact["outputLayouts"].value)


def _named(kind: str, layout: str) -> str:
    """Return what an operation is called; axes in alphabetical order, such as abcd, are the layout of ONNX."""
    if kind != "Reorder":
        return kind
    return "ReorderOutput" if layout.isalpha() and list(layout) == sorted(layout.lower()) else "ReorderInput"


class Model:
    """A compiled model, with one request for each set of inputs."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._compiled = compiled
        self._places = [openvino.Tensor(port.element_type, port.shape) for port in compiled.outputs]
        self.inputs = [
            (port.any_name, list(port.shape), np.dtype(port.element_type.to_dtype()).name) for port in compiled.inputs
        ]

    def bind(self, values: list[np.ndarray]) -> Bound:
        """Make a request that reads these values where they are; its outputs' places are those of all requests."""
        request = self._compiled.create_infer_request()
        for index, value in enumerate(values):
            request.set_input_tensor(index, openvino.Tensor(value, shared_memory=True))
        for index, place in enumerate(self._places):
            request.set_output_tensor(index, place)
        return request, values  # which OpenVINO does not keep from being freed

    def run(self, bound: Bound) -> None:
        """Run in this very thread."""
        bound[0].infer(share_outputs=True)

    def outputs(self, bound: Bound) -> list[np.ndarray]:
        """Return the results of the last run."""
        return [np.array(bound[0].get_output_tensor(index).data) for index in range(len(self._places))]
