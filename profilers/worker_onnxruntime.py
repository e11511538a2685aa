"""Times ONNX models with ONNX Runtime. Stands alone: copy this file anywhere with python, numpy and onnxruntime.

Reads one JSON command a line from standard input and answers on standard output, one JSON object a line:

    {"command": "start", "threads": 1, "cores": [1] or null}
        -> {"event": "started", "onnxruntime": "1.20.0", "machine": ..., "cores": [1], ...}
    {"command": "open", "index": 0, "path": "block.onnx"}
        -> {"event": "opened", "index": 0} or {"event": "failed", "index": 0, "message": ...}
    {"command": "inspect", "path": "block.onnx", "threads": 1}
        -> {"event": "inspected", "operations": ["ReorderInput", "Conv", ...], "energy_mj": 1.2 or null}
           or {"event": "failed", "message": ...}
    {"command": "round", "order": [2, 0, 1], "announce": false}
        -> {"event": "round", "order": [...], "wall_ns": [...], "cpu_ns": [...]}
           with "announce", {"event": "visiting", "index": 2} before each visit, to find what crashes or hangs

A visit runs its model four times and reports the fourth run. The worker ends with its standard input, so it never
outlives whoever started it.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

WARM_UPS = 3
"""Runs before the timed one. A block is at its steady speed after one; a network whose weights exceed the second-level
cache is 20 % slower in its second run than in its fourth, which is what it takes from then on."""

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}
"""What inputs and outputs of the models may be."""


POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the energy counters of Intel's and AMD's processors (RAPL)."""

ENERGY_S = 0.05
"""How long a model is repeated to tell its energy."""


def main() -> None:
    """Serve commands until standard input ends."""
    gc.disable()
    runs: dict[int, Callable[[], None]] = {}
    options = onnxruntime.SessionOptions()
    for line in sys.stdin:
        command = json.loads(line)
        if command["command"] == "start":
            options, answer = start(command["threads"], command["cores"])
        elif command["command"] == "open":
            answer = open_model(command["index"], command["path"], options, runs)
        elif command["command"] == "inspect":
            answer = inspect(command["path"], command["threads"])
        elif command["command"] == "round":
            answer = visit_all(command["order"], runs, announce=command["announce"])
        else:
            answer = {"event": "failed", "message": f"unknown command {command['command']!r}"}
        say(answer)


def say(answer: dict[str, object]) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def start(threads: int, cores: list[int] | None) -> tuple[onnxruntime.SessionOptions, dict[str, object]]:
    """Pin this process and make the session options."""
    options = onnxruntime.SessionOptions()
    pinned: list[int] | None = None
    if hasattr(os, "sched_setaffinity"):
        pinned = cores or sorted(os.sched_getaffinity(0))[-threads:]
        try:
            os.sched_setaffinity(0, pinned)
        except OSError as error:
            return options, {"event": "failed", "message": f"cannot pin to cores {pinned}: {error}"}
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if threads > 1:
        # Idle pool threads of a hundred sessions would otherwise spin on the cores that are being timed.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options, {
        "event": "started",
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_model": cpu_model(),
        "governor": governor(pinned),
        "cores": pinned,
    }


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def governor(cores: list[int] | None) -> str | None:
    """The frequency governor of the first core; None where the system does not tell."""
    path = Path(f"/sys/devices/system/cpu/cpu{(cores or [0])[0]}/cpufreq/scaling_governor")
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def open_model(
    index: int, path: str, options: onnxruntime.SessionOptions, runs: dict[int, Callable[[], None]]
) -> dict[str, object]:
    """Load a model, bind random input and its output, and run it once."""
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        rng = np.random.default_rng(0)
        for node in session.get_inputs():
            value = random_values(rng, node.shape, DTYPES[node.type])
            binding.bind_ortvalue_input(node.name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        for node in session.get_outputs():
            value = np.zeros(node.shape, dtype=DTYPES[node.type])
            binding.bind_ortvalue_output(node.name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        session.run_with_iobinding(binding)
    except Exception as error:  # the runtime raises many kinds of its own, and any of them is this model's result
        return {"event": "failed", "index": index, "message": f"{type(error).__name__}: {error}"[:500]}
    runs[index] = lambda: session.run_with_iobinding(binding)
    return {"event": "opened", "index": index}


def inspect(path: str, threads: int) -> dict[str, object]:
    """The operations that a model comes to once it is optimised, in the order they run, and what energy a run takes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.enable_profiling = True
    try:
        with tempfile.TemporaryDirectory() as folder:
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            inputs = {n.name: np.zeros(n.shape, dtype=DTYPES[n.type]) for n in session.get_inputs()}
            session.run(None, inputs)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        options.enable_profiling = False
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        energy_mj = energy_of(lambda: session.run(None, inputs))
    except Exception as error:  # the runtime raises many kinds of its own, and any of them is this model's result
        return {"event": "failed", "message": f"{type(error).__name__}: {error}"[:500]}
    return {
        "event": "inspected",
        "operations": [e["args"]["op_name"] for e in events if e["name"].endswith("_kernel_time")],
        "energy_mj": energy_mj,
    }


def energy_of(run: Callable[[], object], root: Path = POWERCAP, min_s: float = ENERGY_S) -> float | None:
    """Millijoules of one call, by the processor's own counters; None where the system shows none.

    The counters tick about once a millisecond and count everything that the processor does, so calls are repeated.
    """
    before = energy_counters(root)
    if not before:
        return None
    num, started = 0, time.perf_counter()
    while time.perf_counter() - started < min_s:
        run()
        num += 1
    after = energy_counters(root)
    if after.keys() != before.keys():
        return None
    spent_uj = sum((after[path][0] - before[path][0]) % (after[path][1] + 1) for path in before)
    return spent_uj / 1e3 / num if spent_uj > 0 else None


def energy_counters(root: Path) -> dict[str, tuple[int, int]]:
    """Microjoules so far of each processor package, and where the count starts over."""
    found = {}
    for folder in sorted(root.glob("*-rapl:[0-9]")):
        try:
            found[str(folder)] = (
                int((folder / "energy_uj").read_text(encoding="utf-8")),
                int((folder / "max_energy_range_uj").read_text(encoding="utf-8")),
            )
        except (OSError, ValueError):
            continue  # not ours to read: only root may, on most systems
    return found


def random_values(rng: np.random.Generator, shape: list[int], dtype: type) -> np.ndarray:
    """Standard normal floats, or integers over their whole range."""
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return rng.standard_normal(shape).astype(dtype)


def visit_all(order: list[int], runs: dict[int, Callable[[], None]], *, announce: bool) -> dict[str, object]:
    """Visit the models in that order and time the last run of each visit."""
    wall_ns, cpu_ns = [], []
    for index in order:
        if announce:
            say({"event": "visiting", "index": index})
        run = runs[index]
        for _ in range(WARM_UPS):
            run()
        cpu_start, wall_start = time.thread_time_ns(), time.perf_counter_ns()
        run()
        wall_end, cpu_end = time.perf_counter_ns(), time.thread_time_ns()
        wall_ns.append(wall_end - wall_start)
        cpu_ns.append(cpu_end - cpu_start)
    return {"event": "round", "order": order, "wall_ns": wall_ns, "cpu_ns": cpu_ns}


if __name__ == "__main__":
    main()
