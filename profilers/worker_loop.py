"""Serves a profiler with a runtime: takes commands, keeps models open, and times them in rounds.

    python worker_loop.py worker_machine.py worker_onnxruntime.py

The last file is the runtime's part. All three stand alone: copy them anywhere with python, numpy and the runtime. Reads
one JSON command a line from standard input and answers on standard output, one JSON object a line:

    {"command": "start", "threads": 1, "cores": [1] or null, "options": {...}}
        -> {"event": "started", "onnxruntime": "1.20.0", "machine": ..., "cores": [1], ...,
            "health": {"temperature_c": 51.0 or null, "free_mb": 1200.0 or null}}
    {"command": "open", "index": 0, "path": "block.onnx"}
        -> {"event": "opened", "index": 0, "outputs": [[...]]}, with some values that it computed from random inputs,
           null for what is not finite, or {"event": "failed", "index": 0, "message": ...}
    {"command": "inspect", "path": "block.onnx", "threads": 1}
        -> {"event": "inspected", "operations": ["ReorderInput", "Conv", ...], "fallbacks": ["Resize", ...],
            "operation_us": [2.0, 31.0, ...] or [], "energy_mj": 1.2 or null} or {"event": "failed", "message": ...}
    {"command": "dissect", "path": "model.onnx", "visits": 10}
        -> {"event": "dissected", "graph": "...", "nodes": [{"name": ..., "operation": "Conv", "provider": ...,
           "inputs": [{"float": [1, 3, 32, 32]}, ...], "outputs": [...], "us": [12, ...]}, ...],
           "plain": {"wall_ns": [...], "cpu_ns": [...]}, "profiled": {"wall_ns": [...], "cpu_ns": [...]}}
           or {"event": "failed", "message": ...}: the optimised graph, without its larger weights, as an ONNX file in
           zlib in base64, null where the runtime cannot write it; its nodes as they ran, with what they were given and
           gave, and the microseconds of each at every visit by the runtime's own profiler; and what the whole took
           without the profiler and with it, at visits that alternate
    {"command": "compute", "index": 0, "inputs": "x.npy", "outputs": "y.npy"}
        -> {"event": "computed", "index": 0}: y holds the first output of every batch of x; or "failed"
    {"command": "round", "order": [2, 0, 1], "announce": false}
        -> {"event": "round", "order": [...], "wall_ns": [...], "cpu_ns": [...], "first_ns": [...]}
           and "throttled": whether the processor was slowed down meanwhile;
           and "pace": [wall, cpu] nanoseconds of a fixed piece of work before the visits, where a CPU runs the models;
           with "announce", {"event": "visiting", "index": 2} before each visit, to find what crashes or hangs
    {"command": "pace", "repeats": 6, "pause_s": 0.1}
        -> {"event": "pace", "wall_ns": [...], "cpu_ns": [...]}, of the fixed piece of work, with a pause before each
A visit runs its model four times and reports the fourth run, and how long the first took. The worker ends with its
standard input, and on Linux with whoever started it even while a model hangs.

The runtime's part is a file with a class `Runtime`, which raises whatever says best what is wrong:

    Runtime(threads: int, options: dict)   gets ready, after this process was pinned to its cores
        .facts                             what tables keep: the runtime's version under its name, and how it is set
        .is_cpu                            whether models run on the processor
        .open(path) -> model               loads a model. What was converted for the runtime comes as a folder
        .inspect(path) -> (operations, fallbacks, microseconds)    only where `profilers/runtime.py` says that it tells
                                           operations; of each one, or none where they are not known
        .profiled(path, folder) -> (model, graph)    only where it says that it dissects: the model under the runtime's
                                           profiler, which may write into the folder; the optimised graph or None
    model.inputs                           name, shape and numpy type of each input, in the order of the ONNX model
    model.bind(values) -> bound            makes ready what a run on these values needs
    model.run(bound)                       is what is timed: the results are there when it returns
    model.outputs(bound) -> arrays         the results of the last run of `bound`, in the order of the ONNX model
    model.ran() -> nodes                   of one under the profiler: the nodes of all runs, one run after the other,
                                           as "dissected" has them, but each with the microseconds of that run
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gc
import importlib.util
import itertools
import json
import math
import os
import platform
import signal
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PR_SET_PDEATHSIG = 1
"""From Linux's sys/prctl.h."""

WARM_UPS = 3
"""Runs before the timed one. A block is at its steady speed after one; a network whose weights exceed the second-level
cache is 20 % slower in its second run than in its fourth, which is what it takes from then on."""

NUM_INPUTS = WARM_UPS + 1
"""Inputs that a model is given in turn, as different ones come in use. Given one and the same, processors learn the
branches of a block alone by heart, which they cannot of a network: PReLU then took a third of what it takes there."""

NUM_SAMPLED = 256

TYPES = (
    "float16",
    "float32",
    "float64",
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
)
"""Numpy's names of the types that models' inputs may have."""


def main() -> None:
    """Serve commands until standard input ends."""
    die_with_parent()
    keep_events_apart()
    gc.disable()
    worker: Worker | None = None
    for line in sys.stdin:
        command = json.loads(line)
        if command["command"] == "start":
            worker, answer = start(command["threads"], command["cores"], command.get("options", {}))
        elif worker is None:
            answer = {"event": "failed", "message": "the worker was not started"}
        else:
            answer = worker.answer(command)
        say(answer)


def die_with_parent() -> None:
    """Have Linux end this process with the one that started it, hanging or not; elsewhere the input's end must do."""
    if sys.platform in ("linux", "android"):  # Termux's python is one or the other, by its version
        with contextlib.suppress(OSError, AttributeError):  # a C library without it
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_events_apart() -> None:
    """Have what runtimes print by themselves go to standard error, where it is taken for no event."""
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)


def say(answer: dict[str, object]) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def start(threads: int, cores: list[int] | None, options: dict[str, Any]) -> tuple[Worker | None, dict[str, object]]:
    """Pin this process and get the runtime ready."""
    machine = load(Path(sys.argv[-2]))
    if cores is None and threads > machine.usable_cores():
        return None, {"event": "failed", "message": f"{threads} threads on {machine.usable_cores()} cores: give fewer"}
    pinned: list[int] | None = None
    if hasattr(os, "sched_setaffinity"):
        pinned = cores or sorted(os.sched_getaffinity(0))[-threads:]
        try:
            os.sched_setaffinity(0, pinned)
        except OSError as error:
            return None, {"event": "failed", "message": f"cannot pin to cores {pinned}: {error}"}
    try:
        runtime = load(Path(sys.argv[-1])).Runtime(threads, options)
    except Exception as error:  # runtimes raise many kinds of their own, and each means: not here
        return None, {"event": "failed", "message": in_words(error)}
    return Worker(runtime, machine), {
        "event": "started",
        **runtime.facts,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_model": machine.cpu_model(),
        "governor": machine.governor(pinned),
        "cores": pinned,
        "health": machine.health(),
    }


def load(path: Path) -> Any:
    """Return the module of a file."""
    spec = importlib.util.spec_from_file_location("runtime", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_words(error: Exception) -> str:
    """Return what a runtime says is wrong, on one line."""
    kind = "" if type(error) is RuntimeError else f"{type(error).__name__}: "
    return f"{kind}{' '.join(str(error).split())}"[:500] or "RuntimeError"


class Worker:
    """A runtime that is ready, and the models that are open."""

    def __init__(self, runtime: Any, machine: Any) -> None:
        self.runtime, self.machine = runtime, machine
        self.models: dict[int, Any] = {}
        self.runs: dict[int, Callable[[], object]] = {}
        self.throttling = machine.Throttling()

    def answer(self, command: dict[str, Any]) -> dict[str, object]:
        """Return the reply to a command."""
        kind = command["command"]
        if kind == "open":
            return self.open(command["index"], command["path"])
        if kind == "inspect":
            return self.inspect(command["path"])
        if kind == "dissect":
            return self.dissect(command["path"], command["visits"])
        if kind == "compute":
            return self.compute(command["index"], command["inputs"], command["outputs"])
        if kind == "round":
            return self.round(command["order"], announce=command["announce"])
        if kind == "pace":
            return dict(self.machine.paces(command["repeats"], command["pause_s"]))
        return {"event": "failed", "message": f"unknown command {kind!r}"}

    def open(self, index: int, path: str) -> dict[str, object]:
        """Load a model, bind random inputs, and run it once."""
        try:
            model = unpacked(self.runtime.open, path)
            bindings = bound_at_random(model)
            model.run(bindings[0])
            computed = model.outputs(bindings[0])
        except Exception as error:  # runtimes raise many kinds of their own, and any of them is this model's result
            return {"event": "failed", "index": index, "message": in_words(error)}
        self.models[index], self.runs[index] = model, in_turns(model, bindings)
        return {"event": "opened", "index": index, "outputs": [sampled(v) for v in computed if v.size]}

    def inspect(self, path: str) -> dict[str, object]:
        """Return what the runtime makes of a model, and what energy a run takes."""
        try:
            operations, fallbacks, operation_us = unpacked(self.runtime.inspect, path)
            model = unpacked(self.runtime.open, path)
            bound = model.bind([np.zeros(shape, dtype=dtype) for _, shape, dtype in model.inputs])
            energy_mj = self.machine.energy_of(lambda: model.run(bound))
        except Exception as error:  # as above
            return {"event": "failed", "message": in_words(error)}
        return {
            "event": "inspected",
            "operations": operations,
            "fallbacks": fallbacks,
            "operation_us": operation_us,
            "energy_mj": energy_mj,
        }

    def dissect(self, path: str, visits: int) -> dict[str, object]:
        """Return the optimised graph of a model, and its nodes in the order that they run, with what each took.

        A run under the runtime's profiler takes longer, so visits alternate between it and a model without.
        """
        try:
            with tempfile.TemporaryDirectory() as folder:
                plain = self.runtime.open(path)
                profiled, graph = self.runtime.profiled(path, folder)
                runs = [in_turns(model, bound_at_random(model)) for model in (plain, profiled)]
                times = [[visit(run) for run in runs] for _ in range(visits)]
                nodes = by_visit(profiled.ran(), visits)
        except Exception as error:  # as above
            return {"event": "failed", "message": in_words(error)}
        return {
            "event": "dissected",
            "graph": None if graph is None else base64.b64encode(zlib.compress(graph)).decode("ascii"),
            "nodes": nodes,
            "plain": {"wall_ns": [pair[0][1] for pair in times], "cpu_ns": [pair[0][2] for pair in times]},
            "profiled": {"wall_ns": [pair[1][1] for pair in times], "cpu_ns": [pair[1][2] for pair in times]},
        }

    def compute(self, index: int, inputs: str, outputs: str) -> dict[str, object]:
        """Run an open model of one input on all batches of a file, and write its first output to another."""
        try:
            model, x, computed = self.models[index], np.load(inputs), []
            ((_, shape, dtype),) = model.inputs
            for first in range(0, len(x), shape[0]):
                bound = model.bind([np.ascontiguousarray(x[first : first + shape[0]], dtype=dtype)])
                model.run(bound)
                computed.append(np.array(model.outputs(bound)[0]))
            np.save(outputs, np.concatenate(computed))
        except Exception as error:  # as above
            return {"event": "failed", "index": index, "message": in_words(error)}
        return {"event": "computed", "index": index}

    def round(self, order: list[int], *, announce: bool) -> dict[str, object]:
        """Visit the models in that order, and tell how the machine was meanwhile."""
        pace = self.machine.fastest_pace() if self.runtime.is_cpu else None
        answer = visit_all(order, self.runs, announce=announce)
        if not self.runtime.is_cpu:
            answer["cpu_ns"] = answer["wall_ns"]  # what the processor does meanwhile says nothing of the device
        return answer | {"throttled": self.throttling.has_happened(), "pace": pace}


def unpacked(use: Callable[[str], Any], path: str) -> Any:
    """Return what comes of using a file: an ONNX file, or the folder that an archive of what was converted holds."""
    if not path.endswith(".zip"):
        return use(path)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        return use(folder)


def bound_at_random(model: Any) -> list[Any]:
    """Return as many sets of random inputs as a model is given in turn, bound to it."""
    rng = np.random.default_rng(0)
    return [model.bind(random_inputs(rng, model.inputs)) for _ in range(NUM_INPUTS)]


def in_turns(model: Any, bindings: list[Any]) -> Callable[[], object]:
    """Return what runs a model, on another of its inputs each time."""
    run, turns = model.run, itertools.cycle(bindings)
    return lambda: run(next(turns))


def random_inputs(rng: np.random.Generator, inputs: list[tuple[str, list[int], str]]) -> list[np.ndarray]:
    """Return one random value for each input of a model."""
    for name, shape, dtype in inputs:
        if dtype not in TYPES:
            raise TypeError(f"input {name!r} is {dtype}; there are random values for {', '.join(TYPES)}")
        if not all(isinstance(size, int) for size in shape):
            raise ValueError(f"input {name!r} has the shape {shape}; every dimension must be fixed")
    return [random_values(rng, shape, np.dtype(dtype).type) for _, shape, dtype in inputs]


def sampled(values: np.ndarray) -> list[float | None]:
    """Return up to twice NUM_SAMPLED values, evenly spread: enough to tell whether two machines compute the same.

    None stands for infinity and for what is no number, which JSON has not.
    """
    flat = values.ravel()
    numbers = (float(v) for v in flat[:: max(1, len(flat) // NUM_SAMPLED)])
    return [v if math.isfinite(v) else None for v in numbers]


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


def visit_all(order: list[int], runs: dict[int, Callable[[], object]], *, announce: bool) -> dict[str, object]:
    """Visit the models in that order and time the last run of each visit, and the first."""
    first_ns, wall_ns, cpu_ns = [], [], []
    for index in order:
        if announce:
            say({"event": "visiting", "index": index})
        first, wall, cpu = visit(runs[index])
        first_ns.append(first)
        wall_ns.append(wall)
        cpu_ns.append(cpu)
    return {"event": "round", "order": order, "wall_ns": wall_ns, "cpu_ns": cpu_ns, "first_ns": first_ns}


def visit(run: Callable[[], object]) -> tuple[int, int, int]:
    """Run a model as often as a visit does; return nanoseconds of the first run, of the last one, and its CPU time."""
    first_start = time.perf_counter_ns()
    run()
    first_ns = time.perf_counter_ns() - first_start
    for _ in range(WARM_UPS - 1):
        run()
    cpu_start, wall_start = time.thread_time_ns(), time.perf_counter_ns()
    run()
    wall_end, cpu_end = time.perf_counter_ns(), time.thread_time_ns()
    return first_ns, wall_end - wall_start, cpu_end - cpu_start


def by_visit(nodes: list[dict[str, Any]], visits: int) -> list[dict[str, Any]]:
    """Return the nodes of one run, of the nodes of all runs, with what each took in the last run of every visit."""
    num, rest = divmod(len(nodes), visits * (WARM_UPS + 1))
    if rest or not num:
        raise ValueError("expected as many nodes in every run of the model, found that they differ")
    runs = [nodes[start : start + num] for start in range(0, len(nodes), num)]
    last = runs[WARM_UPS :: WARM_UPS + 1]
    return [{**node, "us": [run[place]["us"] for run in last]} for place, node in enumerate(last[0])]


if __name__ == "__main__":
    main()
