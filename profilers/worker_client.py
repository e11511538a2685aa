"""Asking a worker: every answer is validated, is the one that was asked for, and comes in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from profilers.connection import MAX_LINE_BYTES, Connection, Message
from profilers.errors import WorkerLostError
from profilers.events import (
    Computed,
    Dissected,
    Event,
    EventT,
    Failed,
    Inspected,
    Opened,
    Paced,
    Round,
    Started,
    Visiting,
    parse_event,
)
from profilers.quoting import printable

ROUND_BYTES = 1 << 16
VISIT_BYTES = 160
"""A round's answer is no longer than the first and so much more for each visit: an index and three times."""

ROUND_SLACK = 10.0
"""A round may take this many times as long as the first one, on top of one visit's deadline."""

SILENCE_S = 0.001
"""The seconds after an answer in which output belongs to it, lest it be taken for the answer to the next command."""


class WorkerClient:
    """A worker that is up. Every method raises WorkerLostError where the worker cannot be believed any more.

    Attributes:
        visiting: the model that alone is to blame if the worker is lost in a round; None where no visit is going on, or
            the last one, which may be over.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.visiting: int | None = None

    def start(
        self, *, threads: int, cores: Sequence[int] | None, options: Mapping[str, object], timeout_s: float
    ) -> Started | Failed:
        """Have the worker get ready and describe itself."""
        command = {"command": "start", "threads": threads, "cores": cores, "options": options}
        answer = self._ask(command, timeout_s, Started)
        self._connection.require_silence(SILENCE_S)
        return answer

    def open(self, index: int, path: str, *, timeout_s: float) -> Opened | Failed:
        """Have a model made ready to run."""
        answer = self._ask({"command": "open", "index": index, "path": path}, timeout_s, Opened)
        if answer.index != index and not (isinstance(answer, Failed) and answer.index is None):
            raise WorkerLostError(f"expected an answer about model {index}, found {_said(answer)}")
        self._connection.require_silence(SILENCE_S)
        return answer

    def inspect(self, path: str, *, threads: int, timeout_s: float) -> Inspected | Failed:
        """Have a model optimised and told what it came to."""
        return self._ask({"command": "inspect", "path": path, "threads": threads}, timeout_s, Inspected)

    def compute(self, index: int, inputs: str, outputs: str, *, timeout_s: float) -> Computed | Failed:
        """Have an open model run on all that one file holds, and its first output written to another."""
        command = {"command": "compute", "index": index, "inputs": inputs, "outputs": outputs}
        return self._ask(command, timeout_s, Computed)

    def dissect(self, path: str, *, visits: int, timeout_s: float) -> Dissected | Failed:
        """Have a model taken apart: its optimised graph, and its nodes as they ran at so many visits."""
        return self._ask({"command": "dissect", "path": path, "visits": visits}, timeout_s, Dissected)

    def pace(self, *, repeats: int, pause_s: float, timeout_s: float) -> Paced:
        """Have the fixed piece of work timed so many times."""
        answer = self._ask({"command": "pace", "repeats": repeats, "pause_s": pause_s}, timeout_s, Paced)
        if isinstance(answer, Failed) or not len(answer.wall_ns) == len(answer.cpu_ns) == repeats:
            raise WorkerLostError(f"expected the pace {repeats} times, found {_said(answer)}")
        return answer

    def round(self, order: list[int], *, visit_timeout_s: float, expected_s: float | None) -> Round:
        """Have every model visited once in that order.

        Args:
            expected_s: about how long that takes; None to have every visit announced, which bounds each of them.
        """
        announce = expected_s is None
        self._connection.send({"command": "round", "order": order, "announce": announce})
        slack_s = 0.0 if expected_s is None else min(ROUND_SLACK * expected_s, visit_timeout_s * len(order))
        place = 0
        self.visiting = None
        while isinstance(answer := self._round_event(order, visit_timeout_s + slack_s), Visiting):
            if not announce or place == len(order) or answer.index != order[place]:
                self.visiting = None  # whatever the model does, this is not its doing
                raise WorkerLostError(f"expected the visits {_shown(order[place:])}, found {_said(answer)}")
            place += 1
            # After the last announcement it may be the round as a whole that goes wrong.
            self.visiting = answer.index if place < len(order) or len(order) == 1 else None
        self.visiting = None
        if list(answer.order) != order:
            raise WorkerLostError(f"expected times in the order {_shown(order)}, found {_said(answer)}")
        self._connection.require_silence(SILENCE_S)
        return answer

    def kill(self) -> None:
        """End the worker."""
        self._connection.kill()

    def _round_event(self, order: Sequence[int], timeout_s: float) -> Visiting | Round:
        event = parse_event(self._connection.receive(timeout_s, ROUND_BYTES + VISIT_BYTES * len(order)))
        if isinstance(event, (Visiting, Round)):
            return event
        self.visiting = event.index if isinstance(event, Failed) and event.index in order else None
        raise WorkerLostError(f"expected a round's times, found {_said(event)}")

    def _ask(self, command: Message, timeout_s: float, kind: type[EventT]) -> EventT | Failed:
        self._connection.send(command, timeout_s)
        event = parse_event(self._connection.receive(timeout_s, MAX_LINE_BYTES))
        if not isinstance(event, (kind, Failed)):
            raise WorkerLostError(f"expected an answer to {command['command']!r}, found {_said(event)}")
        return event


def _said(event: Event) -> str:
    if isinstance(event, Failed):
        return event.message
    return printable(str(event))[:160]


def _shown(order: Sequence[int]) -> str:
    return f"{', '.join(map(str, order[:8]))}{' and so on' if len(order) > 8 else ''}"
