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

NODE_EVENT = "_kernel_time"
"""What the names of the profiler's events of nodes that ran end with, after the node's."""

LARGE_BYTES = 1024
"""Weights of more than this are no part of the graph that is told: latency depends on their shapes alone."""

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

    def inspect(self, path: str) -> tuple[list[str], list[str], list[float]]:
        """Return the operations of a model once it is optimised, in the order they run, and those left to the CPU.

        They are not timed: under the profiler short ones take much longer.

        Raises:
            RuntimeError: the provider runs none of them.
        """
        with tempfile.TemporaryDirectory() as folder:
            session = self._session(path, self._profiling(folder))
            inputs = {n.name: np.zeros(n.shape, dtype=DTYPES[n.type]) for n in session.get_inputs()}
            session.run(None, inputs)
            ran = [event["args"] for event in node_events(session)]
        fallbacks = [] if self.is_cpu else [args["op_name"] for args in ran if args.get("provider") == CPU]
        if ran and len(fallbacks) == len(ran):
            raise RuntimeError(
                f"{self.provider} leaves all of it to the CPU ({', '.join(sorted(set(fallbacks)))}): that is not its "
                "latency"
            )
        return [args["op_name"] for args in ran], fallbacks, []

    def profiled(self, path: str, folder: str) -> tuple[ProfiledModel, bytes | None]:
        """Return a model under the runtime's profiler, which writes into the folder, and its optimised graph.

        The graph is an ONNX file without its larger weights; None where the provider's parts are no ONNX.
        """
        options, graph = self._profiling(folder), Path(folder) / "graph.onnx"
        entry = "session.optimized_model_external_initializers_"
        options.optimized_model_filepath = str(graph)
        options.add_session_config_entry(f"{entry}file_name", "weights.bin")
        options.add_session_config_entry(f"{entry}min_size_in_bytes", str(LARGE_BYTES))
        try:
            return ProfiledModel(self._session(path, options), self.provider), graph.read_bytes()
        except Exception:  # the runtime's kinds of errors vary; without the graph it raises again what is not of it
            return ProfiledModel(self._session(path, self._profiling(folder)), self.provider), None

    def _profiling(self, folder: str) -> onnxruntime.SessionOptions:
        options = self._options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        return options

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


class ProfiledModel(Model):
    """A session under the runtime's profiler."""

    def __init__(self, session: onnxruntime.InferenceSession, provider: str) -> None:
        super().__init__(session)
        self._provider = provider

    def ran(self) -> list[dict[str, Any]]:
        """End profiling; return the nodes of all runs, each as it ran, one run after the other."""
        return [
            {
                "name": event["name"].removesuffix(NODE_EVENT),
                "operation": event["args"]["op_name"],
                "provider": event["args"].get("provider", self._provider),
                "inputs": event["args"].get("input_type_shape", []),
                "outputs": event["args"].get("output_type_shape", []),
                "us": event["dur"],
            }
            for event in node_events(self._session)
        ]


def node_events(session: onnxruntime.InferenceSession) -> list[dict[str, Any]]:
    """End profiling; return the events of nodes that ran."""
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [event for event in events if event["name"].endswith(NODE_EVENT)]


def place_for(node: onnxruntime.NodeArg) -> onnxruntime.OrtValue | None:
    """Return where an output goes.

    None where the runtime has to tell each time how large it is, or has a type of its own.
    """
    if node.type not in DTYPES or not node.shape or not all(isinstance(size, int) for size in node.shape):
        return None
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(node.shape, dtype=DTYPES[node.type]))
