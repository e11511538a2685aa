"""A worker that answers well but for one thing, which it does as often as it is asked for it.

    python hostile_worker.py AT INDEX CODE

At "start", "open", "inspect", "dissect", "round" or "pace" it runs the code instead of answering, at "visit" after
announcing the visit; where a model is meant, only for the model of that index, or for all with -1. The code finds the
command and the good answer as `command` and `good`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def raw(text: str | bytes) -> None:
    """Write just that."""
    data = text.encode() if isinstance(text, str) else text
    while data:
        data = data[os.write(1, data) :]


def say(event: object, end: str = "\n") -> None:
    """Write one event."""
    raw(json.dumps(event) + end)


def forever(text: str, pause_s: float = 0.0) -> None:
    """Write that again and again."""
    while True:
        raw(text)
        time.sleep(pause_s)


def serve(at: str, bad_index: int, code: str) -> None:
    """Answer commands until standard input ends."""

    def act(place: str, good: dict[str, object], index: int | None = None) -> None:
        if place == at and (index in (None, bad_index) or bad_index < 0):
            exec(code, {**globals(), "command": command, "good": good})
        elif place != "visit":
            say(good)

    for line in sys.stdin:
        command = json.loads(line)
        kind, index = command["command"], command.get("index")
        if kind == "start":
            act("start", {"event": "started", "fake": "1"})
        elif kind == "open":
            act("open", {"event": "opened", "index": index}, index)
        elif kind == "inspect":
            act(
                "inspect",
                {"event": "inspected", "operations": ["Conv"], "energy_mj": 1.5},
                int(Path(command["path"]).stem),
            )
        elif kind == "dissect":
            times = {"wall_ns": [1000] * command["visits"], "cpu_ns": [1000] * command["visits"]}
            node = {"name": "c", "operation": "Conv", "provider": "cpu", "inputs": [], "outputs": []}
            answer = {"nodes": [{**node, "us": [1] * command["visits"]}], "plain": times, "profiled": times}
            act("dissect", {"event": "dissected", "graph": None, **answer}, int(Path(command["path"]).stem))
        elif kind == "pace":
            times = [300] * command["repeats"]
            act("pace", {"event": "pace", "wall_ns": times, "cpu_ns": times})
        else:
            order = command["order"]
            for visited in order if command["announce"] else ():
                say({"event": "visiting", "index": visited})
                act("visit", {}, visited)
            if not command["announce"] and bad_index in order:
                act("visit", {}, bad_index)
            times = [1000 + 10 * visited for visited in order]
            columns = {"order": order, "wall_ns": times, "cpu_ns": times, "first_ns": times}
            act("round", {"event": "round", **columns, "pace": [300, 300]})


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
