"""The parent side of a worker: its start, deadlines, restarts, quarantine of models, rounds into the journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from time import monotonic, sleep
from typing import TYPE_CHECKING

import numpy as np
from platformdirs import user_cache_path

from profilers.device import Device, remedy
from profilers.errors import MeasurementError
from profilers.external_data import size_bytes
from profilers.grouping import split_into_groups
from profilers.journal import Journal
from profilers.measurement import SESSION_STRIDE, Measurement, Model
from profilers.pace import Pace
from profilers.transport import (
    WORKERS,
    Connection,
    LocalTransport,
    Message,
    WorkerLostError,
    transport_for,
    worker_file,
)
from profilers.tuning import tuning_folder

if TYPE_CHECKING:
    from profilers.profiler import Profiler

MAX_LOSSES = 3
"""Workers that may be lost in a row without one round or one named culprit between them."""

ROUND_SLACK = 10.0
"""A round may take this many times as long as the first one, on top of one visit's deadline."""

PARITY = 1e-4
"""Largest difference between another machine's outputs and this one's; relative to the largest, if that is above 1."""

COOLING_S = 3.0
"""Pause before a round is repeated during which the device was throttled."""

RECONNECT_S = (2.0, 5.0, 10.0)
"""Pauses before a device that was lost is sought again."""

BOARD_MEMORY_MB = 1024.0
"""Memory for opened models on a device that is not this machine, unless told otherwise."""

SESSION_TIMEOUT_S = 24 * 3600
"""After this long a board ends the session of a client that it lost."""

SITTING = 10
"""Rounds after which models are opened anew, another group has its turn, and it is asked whether measuring may end."""

AFTER_REPEATS = 6
AFTER_PAUSE_S = 0.1
"""How often a worker tells its pace after the last round, and the pause before each: half a second and more tells a
neighbour that has gone from one that had a break."""


class Session:
    """One call of Profiler.measure: the worker that is up now, and what is known of the models."""

    def __init__(self, profiler: Profiler, models: Sequence[Model]) -> None:
        self.profiler = profiler
        self.device = profiler.device
        self.transport = profiler.transport or transport_for(self.device)
        self.models = models
        memory_mb = profiler.memory_mb or (None if self.device.is_here else BOARD_MEMORY_MB)
        self.groups = split_into_groups([size_bytes(m.path) for m in models], memory_mb=memory_mb)
        self.reference: Connection | None = None
        self.about_worker: Message = {}
        self.health: Message = {}
        self.connection: Connection | None = None
        self.opened: set[int] = set()
        self.verified: set[int] = set()
        self.open_group: int | None = None
        self.is_fresh = True
        self.sitting = 0
        self.round_s: dict[int, float] = {}
        self.inference_s = 0.0
        self.suspicious = False

    def identity(self) -> dict[str, object]:
        """What must agree for measurements to mix."""
        return {
            "models": [[m.key, m.sha256] for m in self.models],
            "device": self.device.settings(),
            "seed": self.profiler.seed,
            "worker": self.about_worker,
        }

    def rounds_done(self, journal: Journal) -> list[int]:
        """Rounds measured of each group; a group of which nothing is left needs no more."""
        groups = [record["group"] for record in journal.rounds]
        return [
            self.profiler.rounds if journal.failures.keys() >= set(members) else groups.count(number)
            for number, members in enumerate(self.groups)
        ]

    def run(self, journal: Journal) -> str:
        """Measure until enough is known; tells what it was that ended it."""
        losses, deadline = 0, monotonic() + 60 * self.profiler.max_minutes
        while True:
            done = self.rounds_done(journal)
            if min(done) >= self.profiler.rounds or len(journal.failures) == len(self.models):
                return "rounds"
            if len(set(done)) == 1 and min(done) >= 2 * SITTING and min(done) % SITTING == 0:
                if monotonic() > deadline:
                    return "minutes"
                if self.profiler.is_settled(collect(self.models, journal)):
                    return "settled"
            progress_before = (len(journal.rounds), len(journal.failures))
            group = done.index(min(done))
            target = min(self.profiler.rounds, (min(done) // SITTING + 1) * SITTING)
            if self.device.runtime == "onnxruntime" and not self.is_fresh:
                # The same file opened twice differs by up to 5 % for as long as both are open, most likely by where
                # they lie in memory: each sitting draws that anew. Other runtimes take too long to open.
                self.end()
            try:
                self._switch_to(group)
                self._open_missing(journal)
                self._measure_rounds(journal, target - done[group])
            except _CulpritError as culprit:
                journal.add_failure(culprit.index, str(culprit))
                self.end()
            except (WorkerLostError, _StartError) as loss:
                self.suspicious = True
                self.end()
                losses = 1 if (len(journal.rounds), len(journal.failures)) != progress_before else losses + 1
                if losses >= MAX_LOSSES:
                    raise MeasurementError(f"lost {losses} workers in a row on {self.device.name}: {loss}") from loss
                if not self.device.is_here:
                    sleep(RECONNECT_S[losses - 1])

    def measure_pace(self, journal: Journal) -> None:
        """Have the worker tell its pace now that nothing is measured, where it told it in the last round."""
        is_told = bool(journal.rounds) and "pace" in journal.rounds[-1]
        if not is_told or journal.pace_after is not None or self.connection is None:
            return
        try:
            self.connection.send({"command": "pace", "repeats": AFTER_REPEATS, "pause_s": AFTER_PAUSE_S})
            answer = self.connection.receive(self.device.visit_timeout_s + AFTER_REPEATS * AFTER_PAUSE_S)
        except WorkerLostError:
            return  # everything is measured; one more hint is not worth another worker
        if answer.get("event") == "pace":
            journal.add_pace(answer["wall_ns"], answer["cpu_ns"])

    def start_worker(self) -> None:
        """Start a worker and let it describe itself."""
        cores = None if self.device.cores is None else list(self.device.cores)
        hint = "" if self.device.is_here else f"; {remedy(self.device)}"
        try:
            self.connection = self.transport.start(worker_file(self.device.runtime))
            self.connection.send(
                {
                    "command": "start",
                    "threads": self.device.threads,
                    "cores": cores,
                    "options": worker_options(self.device),
                }
            )
            answer = self.connection.receive(self.device.start_timeout_s)
        except WorkerLostError as loss:
            raise _StartError(f"cannot start a worker for {self.device.name}: {loss}{hint}") from loss
        if answer.get("event") != "started":
            raise _StartError(f"cannot start a worker for {self.device.name}: {answer.get('message', answer)}{hint}")
        self.is_fresh = True
        self.health = answer.pop("health", {})
        self.about_worker = {name: value for name, value in answer.items() if name != "event"}

    def end(self) -> None:
        """End the worker that is up, if one is."""
        if self.connection is not None:
            self.connection.kill()
        self.connection = None
        self.opened.clear()
        if self.reference is not None:
            self.reference.kill()
        self.reference = None

    def _switch_to(self, group: int) -> None:
        if self.open_group not in (None, group):
            self.end()  # its memory with it
        self.open_group = group
        if self.connection is None:
            self.start_worker()

    def _begin_sitting(self, journal: Journal) -> None:
        """Number the rounds of a worker that has measured none."""
        if self.is_fresh:
            self.sitting = max((record["sitting"] for record in journal.rounds), default=-1) + 1
            self.is_fresh = False

    def _open_missing(self, journal: Journal) -> None:
        assert self.connection is not None and self.open_group is not None
        members = self.groups[self.open_group]
        missing = [i for i in members if i not in journal.failures and i not in self.opened]
        places = dict(zip(missing, self.transport.place([self.models[i].path for i in missing]), strict=True))
        for number, index in enumerate(members, start=1):
            if index not in places:
                continue
            self.connection.send({"command": "open", "index": index, "path": places[index]})
            try:
                answer = self.connection.receive(self.device.open_timeout_s)
            except WorkerLostError as loss:
                raise _CulpritError(index, f"while opening: {loss}") from loss
            difference = self._difference_to_here(index, answer)
            if answer.get("event") == "opened" and difference is None:
                self.opened.add(index)
            elif difference is not None:
                journal.add_failure(index, difference)
            else:
                journal.add_failure(index, str(answer.get("message", answer)))
            self.profiler.on_progress("open", number, len(members))

    def _difference_to_here(self, index: int, answer: Message) -> str | None:
        """What is wrong with what another machine computed; None where it computed what this one does."""
        is_elsewhere = not self.device.is_here or self.device.provider != "cpu"
        if self.device.runtime != "onnxruntime" or not is_elsewhere or answer.get("event") != "opened":
            return None
        if index in self.verified:
            return None
        if self.reference is None:
            self.reference = LocalTransport().start(WORKERS["onnxruntime"])
            self.reference.send({"command": "start", "threads": 1, "cores": None, "options": {"provider": "cpu"}})
            self.reference.receive(self.device.start_timeout_s)
        self.reference.send({"command": "open", "index": 0, "path": str(self.models[index].path)})
        expected = self.reference.receive(self.device.open_timeout_s).get("outputs", [])
        for found_values, values in zip(answer["outputs"], expected, strict=True):
            limit = PARITY * max(1.0, *(abs(v) for v in values))
            differences = [abs(a - b) for a, b in zip(found_values, values, strict=True)]
            if wrong := [d for d in differences if not d <= limit]:  # NaN too, which max() may pass over
                return f"computes something else than this machine: outputs differ by {wrong[0]:.3g}"
        self.verified.add(index)
        return None

    def _measure_rounds(self, journal: Journal, num: int) -> None:
        assert self.open_group is not None
        self._begin_sitting(journal)
        for _ in range(num if self.opened else 0):
            done = self.rounds_done(journal)
            self.profiler.on_progress("round", sum(done) // len(done), self.profiler.rounds)
            rng = np.random.default_rng([self.profiler.seed, self.open_group, done[self.open_group]])
            order = [int(i) for i in rng.permutation(sorted(self.opened))]
            answer = self._one_round(order)
            while answer.get("throttled"):
                journal.add_throttled_round(self.open_group, answer["order"], answer["wall_ns"])
                if journal.num_throttled > self.profiler.rounds:
                    raise MeasurementError(
                        f"{self.device.name} was throttled in {journal.num_throttled} rounds: cool it, or give it a "
                        "better power supply; the same command continues"
                    )
                sleep(COOLING_S)
                answer = self._one_round(order)
            times = (answer["order"], answer["wall_ns"], answer["cpu_ns"])
            journal.add_round(
                self.open_group, self.sitting, *times, pace=answer.get("pace"), first_ns=answer.get("first_ns")
            )
        done = self.rounds_done(journal)
        self.profiler.on_progress("round", sum(done) // len(done), self.profiler.rounds)

    def _one_round(self, order: list[int]) -> Message:
        """One round's answer; the first one is announced visit by visit, which bounds every visit and times a round."""
        assert self.connection is not None and self.open_group is not None
        expected_s = self.round_s.get(self.open_group)
        announce = self.suspicious or expected_s is None
        self.connection.send({"command": "round", "order": order, "announce": announce})
        started, visiting = monotonic(), None
        timeout_s = self.device.visit_timeout_s + (0.0 if announce else ROUND_SLACK * (expected_s or 0.0))
        while True:
            try:
                answer = self.connection.receive(timeout_s)
            except WorkerLostError as loss:
                if visiting is None or not self.suspicious:
                    raise
                raise _CulpritError(visiting, f"while timed: {loss}") from loss
            if answer.get("event") == "round":
                elapsed_s = monotonic() - started
                self.round_s.setdefault(self.open_group, elapsed_s)
                self.inference_s += elapsed_s
                return answer
            visiting = answer.get("index")


class _StartError(MeasurementError):
    """No worker could be started."""


class _CulpritError(Exception):
    """A worker was lost and one model is to blame."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def collect(models: Sequence[Model], journal: Journal) -> tuple[Measurement, ...]:
    """What the journal holds, in the order of the models."""
    columns: list[dict[str, list[int]]] = [{name: [] for name in _COLUMNS} for _ in models]
    for first_visit, record in _numbered(journal):
        for place, index in enumerate(record["order"]):
            columns[index]["visits"].append(first_visit + place)
            for name in _COLUMNS[1:]:
                if name in record:
                    columns[index][name].append(record[name][place])
    return tuple(
        Measurement(key=model.key, error=journal.failures[index])
        if index in journal.failures
        else _measurement(model.key, columns[index])
        for index, model in enumerate(models)
    )


_COLUMNS = ("visits", "wall_ns", "cpu_ns", "first_ns")


def _measurement(key: str, columns: Mapping[str, list[int]]) -> Measurement:
    visits, wall_ns, cpu_ns, first_ns = (tuple(columns[name]) for name in _COLUMNS)
    is_told = len(first_ns) == len(visits)  # by every worker that took part
    return Measurement(key=key, visits=visits, wall_ns=wall_ns, cpu_ns=cpu_ns, first_ns=first_ns if is_told else ())


def collect_pace(journal: Journal) -> Pace | None:
    """The pace of the rounds and after them; None where the worker tells none."""
    told = [(first_visit, *record["pace"]) for first_visit, record in _numbered(journal) if "pace" in record]
    if not told:
        return None
    visits, wall_ns, cpu_ns = zip(*told, strict=True)
    after = journal.pace_after or {"wall_ns": [], "cpu_ns": []}
    return Pace(
        visits=visits,
        wall_ns=wall_ns,
        cpu_ns=cpu_ns,
        after_wall_ns=tuple(after["wall_ns"]),
        after_cpu_ns=tuple(after["cpu_ns"]),
    )


def _numbered(journal: Journal) -> Iterator[tuple[int, Message]]:
    """The rounds, each with the number of its first visit."""
    visit, sitting = 0, None
    for record in journal.rounds:
        if sitting is not None and record["sitting"] != sitting:
            visit = (visit // SESSION_STRIDE + 1) * SESSION_STRIDE
        sitting = record["sitting"]
        yield visit, record
        visit += len(record["order"])


def worker_options(device: Device) -> dict[str, object]:
    """What a worker needs to know of the device besides threads and cores."""
    if device.runtime == "onnxruntime":
        return {"provider": device.provider}
    cache = user_cache_path("hwnas")
    tuning = tuning_folder(device) if device.tuning != "none" else None
    return {
        "target": device.target,
        "cross_compiler": device.cross_compiler,
        "rpc": None if device.rpc is None else asdict(device.rpc),
        "cache": str(cache / "tvm"),
        "tuning": None if tuning is None else str(tuning),
        # The server ends sessions of its own accord, should this side die without a word.
        "session_timeout_s": SESSION_TIMEOUT_S,
    }
