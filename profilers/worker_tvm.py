"""Times ONNX models compiled by TVM, here or on a board behind TVM's RPC.

Speaks the protocol of `worker_loop`. Runs beside the compiler, in a process of its own: whoever started it kills it
when it does not answer, since a frozen or dead RPC server leaves a client waiting forever. Compiled libraries are kept
by hash of model, target, versions and tuning, and compiled again where they are not as they were compiled.

    {"command": "start", "threads": 1, "cores": null, "options": {"target": ..., "cross_compiler": ..., "rpc": ...,
     "cache": "folder", "tuning": "folder" or null}}

A model is compared with ONNX Runtime on this machine before it counts as opened. A visit calls it four times on the
device and reports the fourth.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from onnx_models.parity import TOLERANCE
from safe_files import cached, sha256_of

PR_SET_PDEATHSIG = 1
"""From Linux's sys/prctl.h."""

FFI_VERSION = "0.1.14"
"""0.1.15 of apache-tvm-ffi ends in segmentation faults with this TVM."""

RUNS = 4
"""Calls of a visit; the last one counts (see `worker_loop`)."""

NONSENSE_S = 86_400.0
"""TVM reports times of 1e9 s where a measurement failed."""

PIPELINE = "default-1"
"""Changes whenever the same model would be compiled otherwise."""


def main() -> None:
    """Serve commands until standard input ends."""
    die_with_parent()
    worker: Worker | None = None
    for line in sys.stdin:
        command = json.loads(line)
        if command["command"] == "start":
            worker, answer = start(command)
        elif worker is None:
            answer = {"event": "failed", "message": "the worker was not started"}
        elif command["command"] == "open":
            answer = worker.open(command["index"], command["path"])
        elif command["command"] == "round":
            answer = worker.visit_all(command["order"], announce=command["announce"])
        else:
            answer = {"event": "failed", "message": f"unknown command {command['command']!r}"}
        say(answer)


def die_with_parent() -> None:
    """Have Linux end this process with the one that started it, hanging or not; elsewhere the input's end must do."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library without it
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def say(answer: dict[str, object]) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def start(command: dict[str, Any]) -> tuple[Worker | None, dict[str, object]]:
    """Import TVM and reach the device."""
    threads, cores, options = command["threads"], command["cores"], command["options"]
    is_here = options.get("rpc") is None
    if is_here and hasattr(os, "sched_setaffinity"):
        cores = cores or sorted(os.sched_getaffinity(0))[-threads:]
        os.sched_setaffinity(0, cores)
    os.environ["TVM_NUM_THREADS"] = str(threads)
    try:
        import tvm
        import tvm_ffi
    except ImportError as error:
        return None, {
            "event": "failed",
            "message": f"{error}; install TVM: pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post0",
        }
    if not str(tvm_ffi.__version__).startswith(FFI_VERSION):
        return None, {
            "event": "failed",
            "message": f"apache-tvm-ffi {tvm_ffi.__version__} crashes with this TVM; install "
            "apache-tvm-ffi==0.1.14.post0",
        }
    try:
        worker = Worker(options, threads=threads)
    except Exception as error:  # the runtime raises many kinds of its own, and each means: not reached
        return None, {"event": "failed", "message": f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"}
    return worker, {
        "event": "started",
        "tvm": tvm.__version__,
        "tvm_ffi": tvm_ffi.__version__,
        "target": str(worker.target),
        "cores": cores if is_here else None,
        "tuning": worker.tuning_digest,
    }


class Worker:
    """A device that is reached, and the models opened on it."""

    def __init__(self, options: dict[str, Any], *, threads: int) -> None:
        import tvm

        self.target = find_target(options["target"])
        self.cross_compiler = options.get("cross_compiler")
        self.cache = Path(options["cache"])
        self.tuning = options.get("tuning")
        self.tuning_digest = _digest_of_folder(Path(self.tuning)) if self.tuning else None
        self.session = _connect(options["rpc"], options.get("session_timeout_s")) if options.get("rpc") else None
        kind = "cuda" if self.target.kind.name == "cuda" else "cpu"
        self.device = getattr(self.session or tvm, kind)(0)
        if self.session is not None and kind == "cpu":
            self.session.get_function("runtime.config_threadpool")(1, threads)
        if self.session is None and not self.device.exist:
            raise RuntimeError(f"there is no {kind} device on this machine")
        self.timers: dict[int, Callable[[], float]] = {}

    def open(self, index: int, path: str) -> dict[str, object]:
        """Compile, load on the device, compare with ONNX Runtime."""
        try:
            library = self._compiled(Path(path))
            self.timers[index] = self._loaded(library, Path(path))
        except Exception as error:  # compilers raise many kinds, and any of them is this model's result ...
            self._require_session(error)  # ... unless the board is gone
            message = str(error).strip().splitlines()
            return {
                "event": "failed",
                "index": index,
                "message": f"{type(error).__name__}: {message[-1] if message else ''}"[:500],
            }
        return {"event": "opened", "index": index}

    def visit_all(self, order: list[int], *, announce: bool) -> dict[str, object]:
        """Visit the models in that order; the device's own clock times the last run of each visit."""
        wall_ns = []
        for index in order:
            if announce:
                say({"event": "visiting", "index": index})
            seconds = self.timers[index]()
            if not 0 < seconds < NONSENSE_S:
                raise _DeviceLostError(f"the device reported {seconds:g} s")
            wall_ns.append(max(1, round(seconds * 1e9)))
        # CPU time of the device's thread is not to be had; equal times mean: never preempted.
        return {"event": "round", "order": order, "wall_ns": wall_ns, "cpu_ns": wall_ns}

    def _require_session(self, cause: Exception) -> None:
        """End the worker where the board does not answer any more: it may be this model that crashed it."""
        if self.session is not None:
            try:
                self.session.get_function("runtime.config_threadpool")
            except Exception:
                raise _DeviceLostError(f"the board's session ended: {str(cause).strip()[-200:]}") from cause

    def _compiled(self, path: Path) -> Path:
        import tvm

        text = json.dumps(
            [
                sha256_of(path),
                str(self.target),
                self.cross_compiler,
                tvm.__version__,
                PIPELINE,
                self.tuning_digest,
            ]
        )
        library = self.cache / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.so"
        return cached(library, text, lambda draft: self._build(path, draft))

    def _build(self, path: Path, library: Path) -> None:
        with tempfile.TemporaryDirectory(dir=library.parent, prefix=".build-") as folder:
            built = Path(folder) / "library.so"  # compilers go by the suffix
            build(path, self.target, built, cross_compiler=self.cross_compiler, tuning=self.tuning)
            built.replace(library)

    def _loaded(self, library: Path, path: Path) -> Callable[[], float]:
        import tvm
        from tvm import relax

        if self.session is None:
            module = tvm.runtime.load_module(str(library))
        else:
            self.session.upload(str(library), library.name)
            module = self.session.load_module(library.name)
        machine = relax.VirtualMachine(module, self.device)
        inputs, expected = reference(path)
        machine.set_input("main", *(tvm.runtime.tensor(x, self.device) for x in inputs))
        machine.invoke_stateful("main")
        found = machine.get_outputs("main")
        found = (found if hasattr(found, "numpy") else found[0]).numpy()
        require_parity(found, expected)
        timer = machine.time_evaluator("invoke_stateful", self.device, number=1, repeat=RUNS)
        return lambda: float(timer("main").results[-1])


def build(path: Path, target: Any, library: Path, *, cross_compiler: str | None, tuning: str | None) -> None:
    """Compile an ONNX file for a target into a shared library."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx
    from tvm.support import cc

    module = from_onnx(onnx.load(path), keep_params_in_input=False)
    if tuning:
        from tvm.s_tir import meta_schedule

        database = meta_schedule.database.JSONDatabase(work_dir=tuning)
        executable = meta_schedule.relax_integration.compile_relax(database, module, target, None)
    else:
        # Without its pipeline named, TVM does not fuse on CPUs.
        executable = tvm.compile(module, target, relax_pipeline=relax.pipeline.get_default_pipeline(target))
    if cross_compiler:
        executable.export_library(str(library), fcompile=cc.cross_compiler(cross_compiler))
    else:
        executable.export_library(str(library))


def reference(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Return random inputs, and what ONNX Runtime computes from them on this machine."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    kinds: dict[str, Any] = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
    inputs = []
    for node in session.get_inputs():
        dtype = kinds[node.type]
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            values = rng.integers(limits.min, limits.max, node.shape, dtype=dtype, endpoint=True)
        else:
            values = rng.standard_normal(node.shape)
        inputs.append(np.asarray(values, dtype=dtype))
    (expected, *_) = session.run(None, {n.name: x for n, x in zip(session.get_inputs(), inputs, strict=True)})
    return inputs, expected


def require_parity(found: np.ndarray, expected: np.ndarray) -> None:
    """Raise ValueError where the device computes something else than ONNX Runtime; integers may be one step off."""
    if found.shape != expected.shape:
        raise ValueError(f"the device gives shape {found.shape}, ONNX Runtime {expected.shape}")
    difference = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
    limit = 1.0
    if np.issubdtype(expected.dtype, np.floating):
        limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= limit:
        raise ValueError(f"the device's output differs from ONNX Runtime's by {difference:.3g}, at most {limit:.3g} is")


class _DeviceLostError(RuntimeError):
    """The device gives no times any more; the worker ends, and whoever started it decides."""


def find_target(text: str) -> Any:
    """Return TVM's target of a name: native, a tag, or JSON."""
    import tvm

    if text == "native":
        return tvm.target.Target(
            {
                "kind": "llvm",
                "mcpu": tvm.target.codegen.llvm_get_system_cpu(),
                "mtriple": tvm.target.codegen.llvm_get_system_triple(),
                "num-cores": int(os.environ["TVM_NUM_THREADS"]),
            }
        )
    if text.startswith("nvidia/"):
        target = tvm.target.Target(text)
        return target if target.host is not None else tvm.target.Target(text, host="llvm")
    return tvm.target.Target(text)


def _connect(rpc: dict[str, Any], session_timeout_s: float | None) -> Any:
    """Connect to the board, through its own server or through a tracker that knows a free one."""
    from tvm import rpc as tvm_rpc

    timeout_s = int(session_timeout_s or 0)
    if not rpc.get("tracker"):
        return _with_retries(
            lambda: tvm_rpc.connect(rpc["host"], rpc["port"], key=rpc.get("key", ""), session_timeout=timeout_s)
        )
    tracker = tvm_rpc.connect_tracker(rpc["host"], rpc["port"])
    keys = {info["key"].removeprefix("server:") for info in tracker.summary()["server_info"]}
    if rpc["key"] not in keys:
        known = ", ".join(sorted(keys)) or "none"
        raise RuntimeError(f"no board under key {rpc['key']!r} at the tracker; boards there: {known}")
    return tracker.request(rpc["key"], session_timeout=timeout_s, max_retry=1)


def _with_retries(connect: Callable[[], Any]) -> Any:
    """Connect to a server that may not be there at once, since it was just restarted."""
    for attempt in range(RETRIES):
        try:
            return connect()
        except Exception as error:  # refused, or reset while the server starts: TVM raises kinds of its own
            if "matches key" in str(error) or attempt == RETRIES - 1:
                raise
            time.sleep(1.0)
    raise AssertionError("unreachable")


RETRIES = 10


def _digest_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.json")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main()
