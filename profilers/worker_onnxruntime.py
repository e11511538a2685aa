"""Runs ONNX models with ONNX Runtime, on its own CPU kernels or through any execution provider that it was built with.

The runtime's part of a worker: `worker_loop.py` says how it is used. Stands alone with python, numpy and onnxruntime.
Operations that a provider leaves to the CPU are told; a model that it leaves to the CPU as a whole is refused, since
its latency would not be the provider's.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
    **{f"tensor({name})": getattr(np, name) for name in ("int8", "int16", "int32", "int64")},
    **{f"tensor({name})": getattr(np, name) for name in ("uint8", "uint16", "uint32", "uint64")},
}
"""Types that models' inputs may have, by name; outputs of other types are left to the runtime and not compared."""

CPU = "CPUExecutionProvider"

SHORT_NAMES = {"cpu": CPU, "cuda": "CUDAExecutionProvider"}

PACKAGES = {
    "CUDAExecutionProvider": "onnxruntime-gpu and a driver for it",
    "TensorrtExecutionProvider": "onnxruntime-gpu and TensorRT",
    "OpenVINOExecutionProvider": "onnxruntime-openvino in place of onnxruntime, in an environment of its own",
    "QNNExecutionProvider": "onnxruntime-qnn",
    "CoreMLExecutionProvider": "onnxruntime on a Mac",
}
"""What to install for the better-known providers."""


class Runtime:
    """ONNX Runtime with one provider."""

    def __init__(self, threads: int, options: dict[str, Any]) -> None:
        name = options.get("provider") or "cpu"
        self.provider = SHORT_NAMES.get(name, name)
        self.is_cpu = self.provider == CPU
        self._provider_options = {str(k): str(v) for k, v in (options.get("provider_options") or {}).items()}
        available = onnxruntime.get_available_providers()
        if self.provider not in available:
            install = PACKAGES.get(self.provider, "a build of onnxruntime with it")
            there = ", ".join(available)
            raise RuntimeError(f"this onnxruntime has no {self.provider}, but {there}; install {install}")
        self._threads = threads
        self.facts: dict[str, object] = {"onnxruntime": onnxruntime.__version__}

    def open(self, path: str) -> Model:
        """Load a model.

        Raises:
            RuntimeError: the provider runs nothing of it.
        """
        if not self.is_cpu:
            self.inspect(path)
        return Model(self._session(path, self._options()))

    def inspect(self, path: str) -> tuple[list[str], list[str]]:
        """Return the operations of a model once it is optimised, in the order they run, and those left to the CPU.

        Raises:
            RuntimeError: the provider runs none of them.
        """
        options = self._options()
        options.enable_profiling = True
        with tempfile.TemporaryDirectory() as folder:
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._session(path, options)
            inputs = {n.name: np.zeros(n.shape, dtype=DTYPES[n.type]) for n in session.get_inputs()}
            session.run(None, inputs)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        ran = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
        fallbacks = [] if self.is_cpu else [args["op_name"] for args in ran if args.get("provider") == CPU]
        if ran and len(fallbacks) == len(ran):
            raise RuntimeError(
                f"{self.provider} leaves all of it to the CPU ({', '.join(sorted(set(fallbacks)))}): that is not its "
                "latency"
            )
        return [args["op_name"] for args in ran], fallbacks

    def _options(self) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if self._threads > 1:
            # Idle pool threads of a hundred sessions would otherwise spin on the cores that are being timed.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def _session(self, path: str, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        """Return a session; where a provider cannot be loaded, onnxruntime would go on with the CPU."""
        providers = [(self.provider, self._provider_options)]
        session = onnxruntime.InferenceSession(path, options, providers=providers, enable_fallback=0)
        if self.provider not in session.get_providers():
            raise RuntimeError(f"{self.provider} could not be loaded; what it needs is missing on this machine")
        return session


class Model:
    """A session with its outputs' places, which all inputs share."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._places = [(node.name, place_for(node)) for node in session.get_outputs()]
        self.inputs = [
            (n.name, n.shape, np.dtype(DTYPES[n.type]).name if n.type in DTYPES else n.type)
            for n in session.get_inputs()
        ]
        self.run = session.run_with_iobinding

    def bind(self, values: list[np.ndarray]) -> onnxruntime.IOBinding:
        """Bind inputs and the outputs' places."""
        binding = self._session.io_binding()
        binding.values = values  # which onnxruntime reads where they are, and does not keep from being freed
        for (name, _, _), value in zip(self.inputs, values, strict=True):
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        for name, place in self._places:
            if place is None:
                binding.bind_output(name, "cpu")
            else:
                binding.bind_ortvalue_output(name, place)
        return binding

    def outputs(self, bound: onnxruntime.IOBinding) -> list[np.ndarray]:
        """Return the results of the last run, but for those of types that numpy has not."""
        values = zip(self._session.get_outputs(), bound.get_outputs(), strict=True)
        return [value.numpy() for node, value in values if node.type in DTYPES]


def place_for(node: onnxruntime.NodeArg) -> onnxruntime.OrtValue | None:
    """Return where an output goes.

    None where the runtime has to tell each time how large it is, or has a type of its own.
    """
    if node.type not in DTYPES or not node.shape or not all(isinstance(size, int) for size in node.shape):
        return None
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(node.shape, dtype=DTYPES[node.type]))
