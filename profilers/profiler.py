"""The parent side of measuring: interleaved rounds, deadlines, restarts, quarantine, journal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np

from profilers.device import Device
from profilers.errors import MeasurementError
from profilers.journal import Journal
from profilers.measurement import Measurement
from profilers.transport import WORKERS, Connection, LocalTransport, Message, Transport, WorkerLostError

MAX_LOSSES = 3
"""Workers that may be lost in a row without one round or one named culprit between them."""

ROUND_SLACK = 10.0
"""A round may take this many times as long as the first one, on top of one visit's deadline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """An ONNX file to be timed, and the name it goes by."""

    key: str
    path: Path

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileResult:
    """Measurements in the order of the models, and what the worker said of itself and its machine."""

    measurements: tuple[Measurement, ...]
    worker: Mapping[str, object]
    num_rounds: int


@dataclass(kw_only=True, slots=True)
class Profiler:
    """Times models on a device by the interleaved protocol.

    Every model is opened first. A round then visits each once, in an order drawn from the seed; a visit runs the model
    twice and keeps the second time, so that caches are about as cold as inside a network and drift hits all alike.

    Attributes:
        device: threads, cores and deadlines.
        rounds: how many rounds to measure.
        seed: order of visits.
        on_progress: told what is done of how much, with "open" or "round" as the first word.
    """

    device: Device
    rounds: int = 60
    seed: int = 0
    transport: Transport = field(default_factory=LocalTransport)
    on_progress: Callable[[str, int, int], None] = lambda *_: None

    def measure(self, models: Sequence[Model], journal_path: Path) -> ProfileResult:
        """Measurements of all models; continues the journal where there is one.

        A model that the runtime rejects, that crashes it or that does not answer in time becomes an entry with an
        error; the others are measured all the same.

        Raises:
            MeasurementError: no worker can be kept alive, or not one model can be measured.
            JournalError: the journal belongs to other models, another device or other versions.
        """
        session = _Session(self, models)
        try:
            session.start_worker()
            journal = Journal(journal_path, session.identity())
            try:
                session.run(journal)
            finally:
                journal.close()
        finally:
            session.end()
        result = ProfileResult(
            measurements=_collect(models, journal), worker=session.about_worker, num_rounds=len(journal.rounds)
        )
        if all(m.error is not None for m in result.measurements):
            raise MeasurementError(f"not one of {len(models)} models could be measured: {result.measurements[0].error}")
        return result


class _Session:
    """One call of Profiler.measure: the worker that is up now, and what is known of the models."""

    def __init__(self, profiler: Profiler, models: Sequence[Model]) -> None:
        self.profiler = profiler
        self.device = profiler.device
        self.models = models
        self.about_worker: Message = {}
        self.connection: Connection | None = None
        self.opened: set[int] = set()
        self.round_s: float | None = None
        self.suspicious = False

    def identity(self) -> dict[str, object]:
        """What must agree for measurements to mix."""
        return {
            "models": [[m.key, m.sha256] for m in self.models],
            "device": self.device.settings(),
            "seed": self.profiler.seed,
            "worker": self.about_worker,
        }

    def run(self, journal: Journal) -> None:
        losses = 0
        while len(journal.rounds) < self.profiler.rounds and len(journal.failures) < len(self.models):
            progress_before = (len(journal.rounds), len(journal.failures))
            try:
                if self.connection is None:
                    self.start_worker()
                self._open_missing(journal)
                self._measure_rounds(journal)
            except _CulpritError as culprit:
                journal.add_failure(culprit.index, str(culprit))
                self.end()
            except WorkerLostError as loss:
                self.suspicious = True
                self.end()
                losses = 1 if (len(journal.rounds), len(journal.failures)) != progress_before else losses + 1
                if losses >= MAX_LOSSES:
                    raise MeasurementError(f"lost {losses} workers in a row on {self.device.name}: {loss}") from loss

    def start_worker(self) -> None:
        """Start a worker and let it describe itself."""
        self.connection = self.profiler.transport.start(WORKERS[self.device.runtime])
        cores = None if self.device.cores is None else list(self.device.cores)
        try:
            self.connection.send({"command": "start", "threads": self.device.threads, "cores": cores})
            answer = self.connection.receive(self.device.start_timeout_s)
        except WorkerLostError as loss:
            raise MeasurementError(f"cannot start a worker for {self.device.name}: {loss}") from loss
        if answer.get("event") != "started":
            raise MeasurementError(f"cannot start a worker for {self.device.name}: {answer.get('message', answer)}")
        self.about_worker = {name: value for name, value in answer.items() if name != "event"}

    def end(self) -> None:
        """End the worker that is up, if one is."""
        if self.connection is not None:
            self.connection.kill()
        self.connection = None
        self.opened.clear()

    def _open_missing(self, journal: Journal) -> None:
        assert self.connection is not None
        for index, model in enumerate(self.models):
            if index in journal.failures or index in self.opened:
                continue
            self.connection.send({"command": "open", "index": index, "path": str(model.path)})
            try:
                answer = self.connection.receive(self.device.open_timeout_s)
            except WorkerLostError as loss:
                raise _CulpritError(index, f"while opening: {loss}") from loss
            if answer.get("event") == "opened":
                self.opened.add(index)
            else:
                journal.add_failure(index, str(answer.get("message", answer)))
            self.profiler.on_progress("open", index + 1, len(self.models))

    def _measure_rounds(self, journal: Journal) -> None:
        self.profiler.on_progress("round", len(journal.rounds), self.profiler.rounds)
        while self.opened and len(journal.rounds) < self.profiler.rounds:
            rng = np.random.default_rng([self.profiler.seed, len(journal.rounds)])
            order = [int(i) for i in rng.permutation(sorted(self.opened))]
            answer = self._one_round(order)
            journal.add_round(answer["order"], answer["wall_ns"], answer["cpu_ns"])
            self.profiler.on_progress("round", len(journal.rounds), self.profiler.rounds)

    def _one_round(self, order: list[int]) -> Message:
        """One round's answer; the first one is announced visit by visit, which bounds every visit and times a round."""
        assert self.connection is not None
        announce = self.suspicious or self.round_s is None
        self.connection.send({"command": "round", "order": order, "announce": announce})
        started, visiting = monotonic(), None
        timeout_s = self.device.visit_timeout_s + (0.0 if announce else ROUND_SLACK * (self.round_s or 0.0))
        while True:
            try:
                answer = self.connection.receive(timeout_s)
            except WorkerLostError as loss:
                if visiting is None or not self.suspicious:
                    raise
                raise _CulpritError(visiting, f"while timed: {loss}") from loss
            if answer.get("event") == "round":
                self.round_s = self.round_s or monotonic() - started
                return answer
            visiting = answer.get("index")


class _CulpritError(Exception):
    """A worker was lost and one model is to blame."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def _collect(models: Sequence[Model], journal: Journal) -> tuple[Measurement, ...]:
    columns: list[tuple[list[int], list[int], list[int]]] = [([], [], []) for _ in models]
    visit = 0
    for record in journal.rounds:
        for index, wall_ns, cpu_ns in zip(record["order"], record["wall_ns"], record["cpu_ns"], strict=True):
            for column, value in zip(columns[index], (visit, wall_ns, cpu_ns), strict=True):
                column.append(value)
            visit += 1
    return tuple(
        Measurement(key=model.key, error=journal.failures[index])
        if index in journal.failures
        else Measurement(
            key=model.key,
            visits=tuple(columns[index][0]),
            wall_ns=tuple(columns[index][1]),
            cpu_ns=tuple(columns[index][2]),
        )
        for index, model in enumerate(models)
    )
