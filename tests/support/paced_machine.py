"""A machine whose speed a test changes while a run is under way: its worker works out times instead of measuring."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

WORKER = """
import json, math, os, random, sys
import onnx
RULES = RULES_PATH
def share(*parts):  # between 0 and 1, the same for the same parts
    return random.Random(repr(parts)).random()
def describe(path):
    graph = onnx.load(path).graph
    # Equal vectors are stored once and passed on by identities: only weights tell what a network is.
    shapes = [tuple(tensor.dims) for tensor in graph.initializer if len(tensor.dims) > 1]
    operations = [node.op_type for node in graph.node if node.op_type != "Identity"]
    return sum(map(math.prod, shapes)), len(operations), (operations, shapes)
models = {}
def say(**event): print(json.dumps(event), flush=True)
for line in sys.stdin:
    command = json.loads(line)
    if command["command"] == "start":
        say(event="started", paced="1", cores=[0])
    elif command["command"] == "open":
        models[command["index"]] = describe(command["path"])
        say(event="opened", index=command["index"])
    elif command["command"] == "round":
        rules = json.load(open(RULES))
        factor = 1.0
        for rule in rules["factors"]:
            if os.path.exists(rule["path"]) == rule["exists"]: factor *= rule["factor"]
        times = []
        for place, index in enumerate(command["order"]):
            if command["announce"]: say(event="visiting", index=index)
            size, num_nodes, structure = models[index]
            luck = 1 + rules["luck"] * (2 * share(structure, "luck") - 1)
            noise = 1 + 0.01 * (share(structure, command["order"]) - 0.5)
            times.append(int((20000 + 2000 * num_nodes + 100 * size) * luck * noise * factor))
        say(event="round", order=command["order"], wall_ns=times, cpu_ns=times)
"""


class PacedMachine:
    """The device `paced` of a devices file in `folder`.

    Args:
        luck: graphs take up to so much more or less than their layers, which no sum over blocks foresees.
    """

    def __init__(self, folder: Path, *, luck: float = 0.0) -> None:
        self._rules = folder / "rules.json"
        self._luck = luck
        self._factors: list[dict[str, object]] = []
        worker = folder / "paced_worker.py"
        worker.write_text(WORKER.replace("RULES_PATH", repr(str(self._rules))))
        self.devices = folder / "devices.yaml"
        self.devices.write_text(yaml.safe_dump({"paced": {"runtime": str(worker)}}))
        self._save()

    def slow_once_there_is(self, path: Path, factor: float) -> None:
        """Everything takes so many times as long from when the file is there."""
        self._factors.append({"path": str(path), "factor": factor, "exists": True})
        self._save()

    def slow_until_there_is(self, path: Path, factor: float) -> None:
        """Everything takes so many times as long until the file is there."""
        self._factors.append({"path": str(path), "factor": factor, "exists": False})
        self._save()

    def _save(self) -> None:
        self._rules.write_text(json.dumps({"luck": self._luck, "factors": self._factors}))
