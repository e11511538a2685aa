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
        device_fields: the fields of a device that not every runtime knows, and this one does.
        required_fields: of those, the ones that a device cannot do without, and what each of them is in words.
        options: what its worker is told of the device when it is started, by the names that
            `profilers/worker_options.py` gives them.
        precisions: the precisions of models that it takes.
        reopens_quickly: whether its worker can be started anew every ten rounds, with all models; latency depends on
            where in memory a model lies, so the more restarts the better.
        tells_operations: whether its worker answers `inspect` with the operations that it makes of a model.
        dissects: whether its worker answers `dissect` with the graph that it makes of a model, and how that ran.
        comparison: how models are compared with ONNX Runtime on this machine before they are timed. "here": the worker
            tells what they compute, and this side compares where the device is another one; "worker": the worker
            does; "none": nobody does.
        starts_slowly: whether a worker may take more than a few seconds to start.
        is_tunable: whether `hwnas tune` can search schedules for it; without them its times are far from its best.
    """

    worker: Path
    device_fields: tuple[str, ...] = ("ssh", "command", "provider")
    required_fields: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ("provider", "cache")
    precisions: tuple[str, ...] = ("fp32", "int8")
    reopens_quickly: bool = False
    tells_operations: bool = False
    dissects: bool = False
    comparison: Literal["here", "worker", "none"] = "none"
    starts_slowly: bool = False
    is_tunable: bool = False


def _worker(name: str) -> Path:
    return Path(__file__).with_name(f"worker_{name}.py")


RUNTIMES: Mapping[str, Runtime] = {
    "onnxruntime": Runtime(
        worker=_worker("onnxruntime"),
        options=("provider",),
        reopens_quickly=True,
        tells_operations=True,
        dissects=True,
        comparison="here",
    ),
    "tvm": Runtime(
        worker=_worker("tvm"),
        device_fields=("target", "rpc", "cross_compiler", "tuning"),
        required_fields={"target": "a target, such as native or raspberry-pi/4b-aarch64"},
        options=("target", "cross_compiler", "rpc", "cache", "tuning", "session_timeout_s"),
        comparison="worker",
        starts_slowly=True,
        is_tunable=True,
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


def owner_of(device_field: str) -> tuple[str, tuple[str, ...]]:
    """Return the built-in runtime that knows a field which not every runtime knows, and all such fields of it."""
    return next((name, r.device_fields) for name, r in RUNTIMES.items() if device_field in r.device_fields)
