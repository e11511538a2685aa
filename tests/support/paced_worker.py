"""A worker that works out times instead of measuring, by what a model's operations are and by rules in a file.

As a program it reads the rules beside its own file; `instant_measurements` has the same in the test's process.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

Message = dict[str, Any]


class PacedWorker:
    """Answers the commands of a profiler.

    Args:
        rules: a JSON file of what the worker tells of its machine, and of what all models take more or less; nothing
            where there is no such file.
    """

    def __init__(self, rules: Path) -> None:
        self._rules = rules
        self._models: dict[int, tuple[int, int, object]] = {}

    def answers(self, command: Message) -> Iterator[Message]:
        """Yield the events that answer one command."""
        match command["command"]:
            case "start":
                yield {"event": "started", "paced": "1", "cores": [0], **self._read_rules()["about"]}
            case "open":
                self._models[command["index"]] = _described(command["path"])
                yield {"event": "opened", "index": command["index"]}
            case "inspect":
                yield {"event": "inspected", "operations": []}
            case "round":
                if command["announce"]:
                    yield from ({"event": "visiting", "index": index} for index in command["order"])
                times = self._times_ns(command["order"])
                yield {"event": "round", "order": command["order"], "wall_ns": times, "cpu_ns": times}
            case name:
                yield {"event": "failed", "message": f"a paced worker knows no {name}"}

    def _times_ns(self, order: list[int]) -> list[int]:
        rules = self._read_rules()
        factor = math.prod(r["factor"] for r in rules["factors"] if Path(r["path"]).exists() == r["exists"])
        times = []
        for index in order:
            size, num_nodes, structure = self._models[index]
            luck = 1 + rules["luck"] * (2 * _share(structure, "luck") - 1)
            noise = 1 + 0.01 * (_share(structure, order) - 0.5)
            times.append(int((20_000 + 2000 * num_nodes + 100 * size) * luck * noise * factor))
        return times

    def _read_rules(self) -> Message:
        rules = json.loads(self._rules.read_text()) if self._rules.exists() else {}
        return {"about": {}, "luck": 0.0, "factors": [], **rules}


def _described(path: str) -> tuple[int, int, object]:
    """Return how many weights and operations a model has, and what tells it from others."""
    graph = onnx.load(path).graph
    # Equal vectors are stored once and passed on by identities: only weights tell what a network is.
    shapes = [tuple(tensor.dims) for tensor in graph.initializer if len(tensor.dims) > 1]
    operations = [node.op_type for node in graph.node if node.op_type != "Identity"]
    return sum(map(math.prod, shapes)), len(operations), (operations, shapes)


def _share(*parts: object) -> float:
    """Return a number between 0 and 1, the same for the same parts."""
    return random.Random(repr(parts)).random()


if __name__ == "__main__":
    worker = PacedWorker(Path(__file__).with_name("rules.json"))
    for line in sys.stdin:
        for event in worker.answers(json.loads(line)):
            print(json.dumps(event), flush=True)
