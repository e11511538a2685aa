"""The runtimes that models are timed with, and what each of them is able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """A program that executes ONNX models, as far as measuring depends on which one it is.

    Attributes:
        worker: the file of its worker, a program that takes commands and answers as `profilers/events.py` says.
        is_part: whether that file is only the runtime's part, which `worker_loop.py` serves commands with.
        device_fields: the fields of a device that not every runtime knows, and this one does.
        required_fields: of those, the ones that a device cannot do without, and what each of them is in words.
        options: what its worker is told of the device when it is started, by the names that
            `profilers/worker_options.py` gives them.
        packages: the modules that a worker imports besides numpy, and what each is called on PyPI.
        precisions: the precisions of models that it takes.
        arithmetics: what it can compute float models in, each where a device asks for it and never by itself.
        extra: the extra of hwnas that installs them, and what the converter needs; None where hwnas needs them itself.
        converter: the program that writes the runtime's own format here: `python CONVERTER MODEL FOLDER ARITHMETIC`.
        own_suffixes: of that format's files, the model's own first.
        converter_packages: the modules that it imports, and what each is called on PyPI.
        reads_onnx: whether its worker opens ONNX files, not only what the converter made of them.
        is_reference: whether it is the one that others are compared with.
        reopens_quickly: whether its worker can be started anew every ten rounds, with all models; latency depends on
            where in memory a model lies, so the more restarts the better.
        tells_operations: whether its worker answers `inspect` with the operations that it makes of a model.
        dissects: whether its worker answers `dissect` with the graph that it makes of a model, and how that ran.
        comparison: how models are compared with ONNX Runtime on this machine before they are timed. "here": the worker
            tells what they compute, and this side compares, unless it is ONNX Runtime on this machine that told it;
            "worker": the worker does; "none": nobody does.
        starts_slowly: whether a worker may take more than a few seconds to start.
        is_tunable: whether `hwnas tune` can search schedules for it; without them its times are far from its best.
    """

    worker: Path
    is_part: bool = False
    device_fields: tuple[str, ...] = ("ssh", "adb", "command", "provider")
    required_fields: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ("provider", "cache")
    packages: Mapping[str, str] = field(default_factory=dict)
    precisions: tuple[str, ...] = ("fp32", "int8")
    arithmetics: tuple[str, ...] = ("fp32",)
    extra: str | None = None
    converter: Path | None = None
    own_suffixes: tuple[str, ...] = ()
    converter_packages: Mapping[str, str] = field(default_factory=dict)
    reads_onnx: bool = True
    is_reference: bool = False
    reopens_quickly: bool = False
    tells_operations: bool = False
    dissects: bool = False
    comparison: Literal["here", "worker", "none"] = "none"
    starts_slowly: bool = False
    is_tunable: bool = False

    @property
    def program(self) -> tuple[Path, ...]:
        """The files that a worker is started with, the program first."""
        return (*map(_file, ("worker_loop", "worker_machine")), self.worker) if self.is_part else (self.worker,)


def _file(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.py")


RUNTIMES: Mapping[str, Runtime] = {
    "onnxruntime": Runtime(
        worker=_file("worker_onnxruntime"),
        is_part=True,
        device_fields=("ssh", "adb", "command", "provider", "provider_options"),
        options=("provider", "provider_options"),
        packages={"onnxruntime": "onnxruntime"},
        is_reference=True,
        reopens_quickly=True,
        tells_operations=True,
        dissects=True,
        comparison="here",
    ),
    "tvm": Runtime(
        worker=_file("worker_tvm"),
        device_fields=("target", "rpc", "cross_compiler", "tuning"),
        required_fields={"target": "a target, such as native or raspberry-pi/4b-aarch64"},
        options=("target", "cross_compiler", "rpc", "cache", "tuning", "session_timeout_s"),
        packages={"tvm": "apache-tvm", "tvm_ffi": "apache-tvm-ffi"},
        extra="tvm",
        comparison="worker",
        starts_slowly=True,
        is_tunable=True,
    ),
    "openvino": Runtime(
        worker=_file("worker_openvino"),
        is_part=True,
        device_fields=("ssh", "adb", "command", "target", "arithmetic"),
        options=("target", "arithmetic"),
        arithmetics=("fp32", "fp16", "bf16"),
        packages={"openvino": "openvino"},
        extra="openvino",
        converter=_file("converter_openvino"),
        own_suffixes=(".xml", ".bin"),
        converter_packages={"openvino": "openvino"},
        reopens_quickly=True,
        tells_operations=True,
        comparison="here",
    ),
    "ncnn": Runtime(
        worker=_file("worker_ncnn"),
        is_part=True,
        device_fields=("ssh", "adb", "command", "arithmetic"),
        options=("arithmetic",),
        precisions=("fp32",),
        arithmetics=("fp32", "fp16", "bf16"),
        packages={"ncnn": "ncnn"},
        extra="ncnn",
        converter=_file("converter_ncnn"),
        own_suffixes=(".param", ".bin"),
        converter_packages={"pnnx": "pnnx"},
        reads_onnx=False,
        reopens_quickly=True,
        comparison="here",
    ),
    "mnn": Runtime(
        worker=_file("worker_mnn"),
        is_part=True,
        device_fields=("ssh", "adb", "command", "arithmetic"),
        options=("arithmetic",),
        precisions=("fp32",),
        arithmetics=("fp32", "fp16"),
        packages={"MNN": "mnn"},
        extra="mnn",
        converter=_file("converter_mnn"),
        own_suffixes=(".mnn",),
        converter_packages={"MNN": "mnn", "onnxruntime": "onnxruntime"},
        reads_onnx=False,
        reopens_quickly=True,
        tells_operations=True,
        comparison="here",
    ),
}
"""The built-in runtimes by name."""

OWN_RUNTIME = Runtime(worker=Path("worker.py"))
"""A runtime that a devices file names by the file of its worker: nothing is expected of it but times."""

WORKERS: Mapping[str, Path] = {name: runtime.worker for name, runtime in RUNTIMES.items()}
"""The worker file of each built-in runtime."""


def runtime_of(name: str) -> Runtime:
    """Return the runtime that a device names: a built-in one, or the path of one's own worker."""
    return RUNTIMES.get(name) or replace(OWN_RUNTIME, worker=Path(name).resolve())


def owners_of(device_field: str) -> list[str]:
    """Return the built-in runtimes that know a field which not every runtime knows."""
    return [name for name, runtime in RUNTIMES.items() if device_field in runtime.device_fields]
