"""A worker for one more runtime: it times ONNX models in onnx's reference evaluator, which is slow but real.

It reads one JSON command a line and answers with one JSON object a line, until its standard input ends:

    start   threads, cores, options  ->  started: facts about the runtime and its machine, all of them your choice
    open    index, path              ->  opened, or failed with a message
    round   order, announce          ->  round: wall-clock and CPU nanoseconds of one visit to each model, in that order

Only `open_model` and `run` know the runtime.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

WARM_UPS = 3
"""Runs of a visit before the one that counts."""

Model = tuple[ReferenceEvaluator, dict[str, np.ndarray]]


def open_model(path: str) -> Model:
    """Return whatever is needed to run the model again and again."""
    evaluator = ReferenceEvaluator(path)
    rng = np.random.default_rng(0)
    inputs = {}
    for value in evaluator.proto_.graph.input:
        tensor = value.type.tensor_type
        shape = [dim.dim_value for dim in tensor.shape.dim]
        inputs[value.name] = rng.standard_normal(shape).astype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return evaluator, inputs


def run(model: Model) -> list[np.ndarray]:
    """Run a model once; it is finished when this returns."""
    evaluator, inputs = model
    return evaluator.run(None, inputs)


def start(threads: int, cores: list[int] | None) -> dict[str, object]:
    """Pin this process to as many cores as it may use, and tell what it is."""
    pinned = cores
    if hasattr(os, "sched_setaffinity"):
        pinned = cores or sorted(os.sched_getaffinity(0))[-threads:]
        os.sched_setaffinity(0, pinned)
    return {"event": "started", "onnx": onnx.__version__, "cpu_model": platform.machine(), "cores": pinned}


def visit(model: Model) -> tuple[int, int]:
    """Return the wall-clock and CPU nanoseconds of a run, after a few that warm up."""
    for _ in range(WARM_UPS):
        run(model)
    cpu_start, wall_start = time.thread_time_ns(), time.perf_counter_ns()
    run(model)
    wall_end, cpu_end = time.perf_counter_ns(), time.thread_time_ns()
    return wall_end - wall_start, cpu_end - cpu_start


def answer(command: dict[str, Any], models: dict[int, Model]) -> dict[str, object]:
    """Return the reply to a command."""
    if command["command"] == "start":
        return start(command["threads"], command["cores"])
    if command["command"] == "open":
        index = command["index"]
        try:
            models[index] = open_model(command["path"])
            run(models[index])
        except Exception as error:  # whatever the runtime raises costs this model alone
            return {"event": "failed", "index": index, "message": f"{type(error).__name__}: {error}"[:500]}
        return {"event": "opened", "index": index}
    if command["command"] == "round":
        times = []
        for index in command["order"]:
            if command["announce"]:
                say({"event": "visiting", "index": index})
            times.append(visit(models[index]))
        wall_ns, cpu_ns = zip(*times, strict=True)
        return {"event": "round", "order": command["order"], "wall_ns": wall_ns, "cpu_ns": cpu_ns}
    return {"event": "failed", "message": f"unknown command {command['command']!r}"}


def say(event: dict[str, object]) -> None:
    """Print one event."""
    print(json.dumps(event), flush=True)


def main() -> None:
    """Serve commands until standard input ends."""
    models: dict[int, Model] = {}
    for line in sys.stdin:
        say(answer(json.loads(line), models))


if __name__ == "__main__":
    main()
