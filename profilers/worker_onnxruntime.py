"""Times ONNX models with ONNX Runtime. Stands alone: copy this file anywhere with python, numpy and onnxruntime.

Reads one JSON command a line from standard input and answers on standard output, one JSON object a line:

    {"command": "start", "threads": 1, "cores": [1] or null}
        -> {"event": "started", "onnxruntime": "1.20.0", "machine": ..., "cores": [1], ...,
            "health": {"temperature_c": 51.0 or null, "free_mb": 1200.0 or null}}
    {"command": "open", "index": 0, "path": "block.onnx"}
        -> {"event": "opened", "index": 0, "outputs": [[...]]}, with some values that it computed from random inputs,
           null for what is not finite, or {"event": "failed", "index": 0, "message": ...}
    {"command": "inspect", "path": "block.onnx", "threads": 1}
        -> {"event": "inspected", "operations": ["ReorderInput", "Conv", ...], "energy_mj": 1.2 or null}
           or {"event": "failed", "message": ...}
    {"command": "dissect", "path": "model.onnx", "visits": 10}
        -> {"event": "dissected", "graph": "...", "nodes": [{"name": ..., "operation": "Conv", "provider": ...,
           "inputs": [{"float": [1, 3, 32, 32]}, ...], "outputs": [...], "us": [12, ...]}, ...],
           "plain": {"wall_ns": [...], "cpu_ns": [...]}, "profiled": {"wall_ns": [...], "cpu_ns": [...]}}
           or {"event": "failed", "message": ...}: the optimised graph, without its larger weights, as an ONNX file in
           zlib in base64, null where the runtime cannot write it; its nodes as they ran, with what they were given and
           gave, and the microseconds of each at every visit by the runtime's own profiler; and what the whole took
           without the profiler and with it, at visits that alternate
    {"command": "round", "order": [2, 0, 1], "announce": false}
        -> {"event": "round", "order": [...], "wall_ns": [...], "cpu_ns": [...], "first_ns": [...]}
           and "throttled": whether the processor was slowed down meanwhile;
           and "pace": [wall, cpu] nanoseconds of a fixed piece of work before the visits, for the device "cpu";
           with "announce", {"event": "visiting", "index": 2} before each visit, to find what crashes or hangs
    {"command": "pace", "repeats": 6, "pause_s": 0.1}
        -> {"event": "pace", "wall_ns": [...], "cpu_ns": [...]}, of the fixed piece of work, with a pause before each
A visit runs its model four times and reports the fourth run, and how long the first took. The worker ends with its
standard input, and on Linux with whoever started it even while a model hangs.
"""

from __future__ import annotations

import base64
import ctypes
import gc
import itertools
import json
import math
import os
import platform
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

PR_SET_PDEATHSIG = 1
"""From Linux's sys/prctl.h."""

WARM_UPS = 3
"""Runs before the timed one. A block is at its steady speed after one; a network whose weights exceed the second-level
cache is 20 % slower in its second run than in its fourth, which is what it takes from then on."""

NUM_INPUTS = WARM_UPS + 1
"""Inputs that a model is given in turn, as different ones come in use. Given one and the same, processors learn the
branches of a block alone by heart, which they cannot of a network: PReLU then took a third of what it takes there."""

NUM_SAMPLED = 256

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
    **{f"tensor({name})": getattr(np, name) for name in ("int8", "int16", "int32", "int64")},
    **{f"tensor({name})": getattr(np, name) for name in ("uint8", "uint16", "uint32", "uint64")},
}
"""Types that models' inputs may have, by name; outputs of other types are left to the runtime and not compared."""


PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

POWERCAP = Path("/sys/class/powercap")
"""The folder where Linux shows the energy counters of Intel's and AMD's processors (RAPL)."""

LARGE_BYTES = 1024
"""Weights of more than this are no part of the graph that is told: latency depends on their shapes alone."""

ENERGY_S = 0.05
"""The seconds that a model is repeated for to tell its energy."""

PACE_SIZE = 48
PACE_PRODUCTS = 100
"""The fixed piece of work: that many products of square matrices of that size. They are 27 KB, which first-level caches
hold, and too small for libraries to use several threads; 0.3 ms on a server core."""

PACE_REPEATS = 5
"""The fastest of so many tells how fast the core is; whether it was lost, the samples tell."""


def main() -> None:
    """Serve commands until standard input ends."""
    die_with_parent()
    gc.disable()
    runs: dict[int, Callable[[], None]] = {}
    throttling = Throttling()
    options, provider, threads = onnxruntime.SessionOptions(), PROVIDERS["cpu"], 1
    for line in sys.stdin:
        command = json.loads(line)
        if command["command"] == "start":
            provider = PROVIDERS[command.get("options", {}).get("provider", "cpu")]
            threads = command["threads"]
            options, answer = start(threads, command["cores"], provider)
        elif command["command"] == "open":
            answer = open_model(command["index"], command["path"], options, provider, runs)
        elif command["command"] == "inspect":
            answer = inspect(command["path"], command["threads"], provider)
        elif command["command"] == "dissect":
            answer = dissect(command["path"], command["visits"], options, threads, provider)
        elif command["command"] == "round":
            pace = fastest_pace() if provider == PROVIDERS["cpu"] else None
            answer = visit_all(command["order"], runs, announce=command["announce"])
            answer |= {"throttled": throttling.has_happened(), "pace": pace}
        elif command["command"] == "pace":
            answer = paces(command["repeats"], command["pause_s"])
        else:
            answer = {"event": "failed", "message": f"unknown command {command['command']!r}"}
        say(answer)


def die_with_parent() -> None:
    """Have Linux end this process with the one that started it, hanging or not; elsewhere the input's end must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def say(answer: dict[str, object]) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def start(threads: int, cores: list[int] | None, provider: str) -> tuple[onnxruntime.SessionOptions, dict[str, object]]:
    """Pin this process and make the session options."""
    options = onnxruntime.SessionOptions()
    if provider not in onnxruntime.get_available_providers():
        return options, {
            "event": "failed",
            "message": f"this onnxruntime has no {provider}; install onnxruntime-gpu and a driver for it",
        }
    if cores is None and threads > usable_cores():
        return options, {"event": "failed", "message": f"{threads} threads on {usable_cores()} cores: give fewer"}
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
        "health": health(),
    }


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def health() -> dict[str, object]:
    """Return temperature and free memory of the machine, None where the system does not tell."""
    return {"temperature_c": _number("/sys/class/thermal/thermal_zone0/temp", 1e-3), "free_mb": free_mb()}


def free_mb() -> float | None:
    """Return the memory that new programs may take."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    return None


class Throttling:
    """Tells whether the processor was slowed down for heat or for want of power since it was asked last."""

    def __init__(self, root: Path = Path("/sys/devices")) -> None:
        self._counters = sorted(root.glob("system/cpu/cpu*/thermal_throttle/core_throttle_count"))
        self._raspberry = root / "platform/soc/soc:firmware/get_throttled"
        self._before = self._count()

    def has_happened(self) -> bool:
        """Return whether the processor was slowed down, now or since the last call."""
        count, before = self._count(), self._before
        self._before = count
        return count > before or self._is_now()

    def _count(self) -> float:
        return sum(_number(str(path), 1.0) or 0.0 for path in self._counters)

    def _is_now(self) -> bool:
        # Bits 0 to 3 of a Raspberry Pi: under-voltage, capped, throttled, at the soft temperature limit.
        try:
            return bool(int(self._raspberry.read_text(encoding="utf-8"), 16) & 0xF)
        except (OSError, ValueError):
            return False


def _number(path: str, factor: float) -> float | None:
    try:
        return float(Path(path).read_text(encoding="utf-8")) * factor
    except (OSError, ValueError):
        return None


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def governor(cores: list[int] | None) -> str | None:
    """Return the frequency governor of the first core; None where the system does not tell."""
    path = Path(f"/sys/devices/system/cpu/cpu{(cores or [0])[0]}/cpufreq/scaling_governor")
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def open_model(
    index: int,
    path: str,
    options: onnxruntime.SessionOptions,
    provider: str,
    runs: dict[int, Callable[[], None]],
) -> dict[str, object]:
    """Load a model, bind random inputs and its output, and run it once."""
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[provider])
        outputs = [(n.name, place_for(n)) for n in session.get_outputs()]
        rng = np.random.default_rng(0)
        bindings = [bound(session, outputs, rng) for _ in range(NUM_INPUTS)]
        session.run_with_iobinding(bindings[0])
    except Exception as error:  # the runtime raises many kinds of its own, and any of them is this model's result
        return {"event": "failed", "index": index, "message": f"{type(error).__name__}: {error}"[:500]}
    turns = itertools.cycle(bindings)
    runs[index] = lambda: session.run_with_iobinding(next(turns))
    values = zip(session.get_outputs(), bindings[0].get_outputs(), strict=True)
    computed = [v.numpy() for node, v in values if node.type in DTYPES]
    return {"event": "opened", "index": index, "outputs": [sampled(v) for v in computed if v.size]}


def place_for(node: onnxruntime.NodeArg) -> onnxruntime.OrtValue | None:
    """Return where an output goes.

    None where the runtime has to tell each time how large it is, or has a type of its own.
    """
    if node.type not in DTYPES or not node.shape or not all(isinstance(size, int) for size in node.shape):
        return None
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(node.shape, dtype=DTYPES[node.type]))


def bound(
    session: onnxruntime.InferenceSession,
    outputs: list[tuple[str, onnxruntime.OrtValue | None]],
    rng: np.random.Generator,
) -> onnxruntime.IOBinding:
    """Bind random inputs of their own and outputs that all bindings of a model share."""
    binding = session.io_binding()
    for node in session.get_inputs():
        if node.type not in DTYPES:
            raise TypeError(f"input {node.name!r} is {node.type}; there are random values for {', '.join(DTYPES)}")
        if not all(isinstance(size, int) for size in node.shape):
            raise ValueError(f"input {node.name!r} has the shape {node.shape}; every dimension must be fixed")
        value = random_values(rng, node.shape, DTYPES[node.type])
        binding.bind_ortvalue_input(node.name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    for name, place in outputs:
        if place is None:
            binding.bind_output(name, "cpu")
        else:
            binding.bind_ortvalue_output(name, place)
    return binding


def sampled(values: np.ndarray) -> list[float | None]:
    """Return up to twice NUM_SAMPLED values, evenly spread: enough to tell whether two machines compute the same.

    None stands for infinity and for what is no number, which JSON has not.
    """
    flat = values.ravel()
    numbers = (float(v) for v in flat[:: max(1, len(flat) // NUM_SAMPLED)])
    return [v if math.isfinite(v) else None for v in numbers]


def inspect(path: str, threads: int, provider: str) -> dict[str, object]:
    """Return the operations of a model once it is optimised, in the order they run, and what energy a run takes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.enable_profiling = True
    try:
        with tempfile.TemporaryDirectory() as folder:
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = onnxruntime.InferenceSession(path, options, providers=[provider])
            inputs = {n.name: np.zeros(n.shape, dtype=DTYPES[n.type]) for n in session.get_inputs()}
            session.run(None, inputs)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        options.enable_profiling = False
        session = onnxruntime.InferenceSession(path, options, providers=[provider])
        energy_mj = energy_of(lambda: session.run(None, inputs))
    except Exception as error:  # the runtime raises many kinds of its own, and any of them is this model's result
        return {"event": "failed", "message": f"{type(error).__name__}: {error}"[:500]}
    return {
        "event": "inspected",
        "operations": [e["args"]["op_name"] for e in events if e["name"].endswith("_kernel_time")],
        "energy_mj": energy_mj,
    }


def dissect(
    path: str, visits: int, options: onnxruntime.SessionOptions, threads: int, provider: str
) -> dict[str, object]:
    """Return the optimised graph of a model, and its nodes in the order that they run, with what each took.

    A run under the runtime's profiler takes longer, so visits alternate between it and a session without.
    """
    try:
        plain = runner(onnxruntime.InferenceSession(path, options, providers=[provider]))
        with tempfile.TemporaryDirectory() as folder:
            profiled, graph = profiled_session(path, Path(folder), threads, provider)
            run = runner(profiled)
            alternating = [(visit(plain), visit(run)) for _ in range(visits)]
            events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
        nodes = ran_nodes([e for e in events if e["name"].endswith("_kernel_time")], visits, provider)
    except Exception as error:  # the runtime raises many kinds of its own, and any of them is this model's result
        return {"event": "failed", "message": f"{type(error).__name__}: {error}"[:500]}
    return {
        "event": "dissected",
        "graph": None if graph is None else base64.b64encode(zlib.compress(graph)).decode("ascii"),
        "nodes": nodes,
        "plain": {"wall_ns": [p[0] for p, _ in alternating], "cpu_ns": [p[1] for p, _ in alternating]},
        "profiled": {"wall_ns": [p[0] for _, p in alternating], "cpu_ns": [p[1] for _, p in alternating]},
    }


def profiled_session(
    path: str, folder: Path, threads: int, provider: str
) -> tuple[onnxruntime.InferenceSession, bytes | None]:
    """Return a session under the runtime's profiler, and its graph; None where the provider's parts are no ONNX."""
    for with_graph in (True, False):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if threads > 1:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        if with_graph:
            entry = "session.optimized_model_external_initializers_"
            options.optimized_model_filepath = str(folder / "graph.onnx")
            options.add_session_config_entry(f"{entry}file_name", "weights.bin")
            options.add_session_config_entry(f"{entry}min_size_in_bytes", str(LARGE_BYTES))
        try:
            session = onnxruntime.InferenceSession(path, options, providers=[provider])
        except Exception:  # the runtime's kinds of errors vary
            if not with_graph:
                raise
            continue
        return session, (folder / "graph.onnx").read_bytes() if with_graph else None
    raise AssertionError("one of the two is returned or raised")


def runner(session: onnxruntime.InferenceSession) -> Callable[[], None]:
    """Return what runs a model, on another of its inputs each time."""
    rng = np.random.default_rng(0)
    outputs = [(n.name, place_for(n)) for n in session.get_outputs()]
    turns = itertools.cycle([bound(session, outputs, rng) for _ in range(NUM_INPUTS)])
    return lambda: session.run_with_iobinding(next(turns))


def visit(run: Callable[[], None]) -> tuple[int, int]:
    """Run a model as often as a visit does; return wall-clock and CPU nanoseconds of the last run."""
    for _ in range(WARM_UPS):
        run()
    cpu_start, wall_start = time.thread_time_ns(), time.perf_counter_ns()
    run()
    wall_end, cpu_end = time.perf_counter_ns(), time.thread_time_ns()
    return wall_end - wall_start, cpu_end - cpu_start


def ran_nodes(events: list[dict[str, Any]], visits: int, provider: str) -> list[dict[str, object]]:
    """Return the nodes in the order that they ran, with what each took in the last run of every visit."""
    num, rest = divmod(len(events), visits * (WARM_UPS + 1))
    if rest or not num:
        raise ValueError("expected as many nodes in every run of the model, found that they differ")
    runs = [events[start : start + num] for start in range(0, len(events), num)]
    last = runs[WARM_UPS :: WARM_UPS + 1]
    return [
        {
            "name": event["name"].removesuffix("_kernel_time"),
            "operation": event["args"]["op_name"],
            "provider": event["args"].get("provider", provider),
            "inputs": event["args"].get("input_type_shape", []),
            "outputs": event["args"].get("output_type_shape", []),
            "us": [run[place]["dur"] for run in last],
        }
        for place, event in enumerate(last[0])
    ]


def energy_of(run: Callable[[], object], root: Path = POWERCAP, min_s: float = ENERGY_S) -> float | None:
    """Return the millijoules of one call, by the processor's own counters; None where the system shows none.

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
    """Return the microjoules so far of each processor package, and where the count starts over."""
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
    """Return standard normal floats, or integers over their whole range; of 32 bits and more, zeros and ones.

    Wide integers number something, words of a vocabulary or places in a tensor: others than these may not be there.
    """
    if not np.issubdtype(dtype, np.integer):
        values = rng.standard_normal(shape)
        return np.asarray(values > 0 if dtype is np.bool_ else values, dtype=dtype)
    limits = np.iinfo(dtype)
    low, high = (0, 1) if limits.bits >= 32 else (limits.min, limits.max)
    return np.asarray(rng.integers(low, high, shape, dtype=dtype, endpoint=True))


def fastest_pace() -> tuple[int, int]:
    """Time a fixed piece of work; return wall-clock and CPU nanoseconds, the fastest of a few times."""
    left, right = (np.full((PACE_SIZE, PACE_SIZE), 0.5, dtype=np.float32) for _ in range(2))
    product = np.empty_like(left)
    found = []
    for _ in range(PACE_REPEATS):
        cpu_start, wall_start = time.thread_time_ns(), time.perf_counter_ns()
        for _ in range(PACE_PRODUCTS):
            np.matmul(left, right, out=product)
        wall_end, cpu_end = time.perf_counter_ns(), time.thread_time_ns()
        found.append((wall_end - wall_start, cpu_end - cpu_start))
    return min(found)


def paces(repeats: int, pause_s: float) -> dict[str, object]:
    """Time the fixed piece of work again and again, with pauses in between."""
    found = []
    for _ in range(repeats):
        time.sleep(pause_s)
        found.append(fastest_pace())
    return {"event": "pace", "wall_ns": [wall for wall, _ in found], "cpu_ns": [cpu for _, cpu in found]}


def visit_all(order: list[int], runs: dict[int, Callable[[], None]], *, announce: bool) -> dict[str, object]:
    """Visit the models in that order and time the last run of each visit, and the first."""
    first_ns, wall_ns, cpu_ns = [], [], []
    for index in order:
        if announce:
            say({"event": "visiting", "index": index})
        run = runs[index]
        first_start = time.perf_counter_ns()
        run()
        first_ns.append(time.perf_counter_ns() - first_start)
        for _ in range(WARM_UPS - 1):
            run()
        cpu_start, wall_start = time.thread_time_ns(), time.perf_counter_ns()
        run()
        wall_end, cpu_end = time.perf_counter_ns(), time.thread_time_ns()
        wall_ns.append(wall_end - wall_start)
        cpu_ns.append(cpu_end - cpu_start)
    return {"event": "round", "order": order, "wall_ns": wall_ns, "cpu_ns": cpu_ns, "first_ns": first_ns}


if __name__ == "__main__":
    main()
