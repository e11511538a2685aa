"""A call of the profiler: workers started and restarted, models that are to blame set aside, rounds kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from onnx_models.external_data import size_bytes
from profilers.collection import collect
from profilers.conversion import converted
from profilers.errors import ConversionError, MeasurementError, NoAnswerError, WorkerLostError
from profilers.events import Failed, Opened, Round
from profilers.grouping import split_into_groups
from profilers.journal import Journal
from profilers.measurement import Model
from profilers.reference import Reference
from profilers.remedies import remedy
from profilers.runtime import RUNTIMES, runtime_of
from profilers.settings import ProfilerSettings
from profilers.transport import transport_for
from profilers.worker_client import WorkerClient
from profilers.worker_options import worker_options
from safe_files import sha256_of

MAX_LOSSES = 3
"""Workers that may be lost in a row without one round or one named culprit between them."""

MAX_HANGS = 2
"""As many of those may be waited for in vain in rounds whose visits are announced: each takes a visit's
deadline. The order differs, so one model that hangs after the last announcement is named the second time."""

MAX_CULPRITS = 10
"""Models that may end their worker one after the other without one round, or one model opened anew, between them."""

COOLING_S = 3.0
"""Pause before a round is repeated during which the device was throttled."""

RECONNECT_S = (2.0, 5.0, 10.0)
"""Pauses before a device that was lost is sought again."""

BOARD_MEMORY_MB = 1024.0
"""Memory for opened models on a device that is not this machine, unless told otherwise."""

ROUNDS_PER_RESTART = 10
"""Rounds after which models are opened anew, another group has its turn, and it is asked whether measuring may end."""

AFTER_REPEATS = 6
AFTER_PAUSE_S = 0.1
"""Repeats of a worker's pace after the last round, and seconds of pause before each: half a second and more tells a
neighbour that has gone from one that had a break."""


class Session:
    """One call of Profiler.measure: the worker that is up now, and what is known of the models."""

    def __init__(self, settings: ProfilerSettings, models: Sequence[Model]) -> None:
        self.settings = settings
        self.device = settings.device
        self.runtime = runtime_of(self.device.runtime)
        self.transport = settings.transport or transport_for(self.device)
        self.models = models
        memory_mb = settings.memory_mb or (None if self.device.is_here else BOARD_MEMORY_MB)
        self.groups = split_into_groups([size_bytes(m.path) for m in models], memory_mb=memory_mb)
        self.reference = Reference(
            start_timeout_s=self.device.start_timeout_s, open_timeout_s=self.device.open_timeout_s
        )
        self.about_worker: dict[str, object] = {}
        self.health: dict[str, object] = {}
        self.client: WorkerClient | None = None
        self.opened: set[int] = set()
        self.ever_opened: set[int] = set()
        self.verified: set[int] = set()
        self.files: dict[int, Path] = {}
        self.open_group: int | None = None
        self.is_fresh = True
        self.restart = 0
        self.round_s: dict[int, float] = {}
        self.inference_s = 0.0
        self.suspicious = False
        self.losses = self.hangs = self.culprits = 0
        self.known_at_culprit = (0, 0)

    def identity(self) -> dict[str, object]:
        """Return what must agree for measurements to mix.

        The code of a worker of one's own belongs to it, since nobody gives that a version.
        """
        identity = {
            "models": [[m.key, m.sha256] for m in self.models],
            "device": self.device.settings(),
            "seed": self.settings.seed,
            "worker": self.about_worker,
        }
        if self.device.runtime not in RUNTIMES:
            identity["worker_sha256"] = sha256_of(self.runtime.worker)
        return identity

    def rounds_done(self, journal: Journal) -> list[int]:
        """Return the rounds measured of each group; a group of which nothing is left needs no more."""
        groups = [record.group for record in journal.rounds]
        return [
            self.settings.rounds if journal.failures.keys() >= set(members) else groups.count(number)
            for number, members in enumerate(self.groups)
        ]

    def run(self, journal: Journal) -> str:
        """Measure until enough is known; tells what it was that ended it."""
        deadline = monotonic() + 60 * self.settings.max_minutes
        while (reason := self._reason_to_end(journal, deadline)) is None:
            progress_before = (len(journal.rounds), len(journal.failures))
            try:
                self._measure_group(journal, self.rounds_done(journal))
                self.losses = self.hangs = 0
            except _CulpritError as culprit:
                self._set_aside(journal, culprit)
            except (WorkerLostError, _StartError) as loss:
                is_progress = (len(journal.rounds), len(journal.failures)) != progress_before
                self._count_loss(loss, is_progress=is_progress)
        return reason

    def _reason_to_end(self, journal: Journal, deadline: float) -> str | None:
        done = self.rounds_done(journal)
        if min(done) >= self.settings.rounds or len(journal.failures) == len(self.models):
            return "rounds"
        if len(set(done)) == 1 and min(done) >= 2 * ROUNDS_PER_RESTART and min(done) % ROUNDS_PER_RESTART == 0:
            if monotonic() > deadline:
                return "minutes"
            is_enough = min(done) >= self.settings.least_rounds
            if is_enough and self.settings.is_settled(collect(self.models, journal)):
                return "settled"
        return None

    def _set_aside(self, journal: Journal, culprit: _CulpritError) -> None:
        """Measure no more of a model that ended its worker, unless far too many do."""
        journal.add_failure(culprit.index, str(culprit))
        self.end()
        self.losses = self.hangs = 0
        known = (len(journal.rounds), len(self.ever_opened))
        self.culprits = self.culprits + 1 if known == self.known_at_culprit else 1
        self.known_at_culprit = known
        if self.culprits >= MAX_CULPRITS:
            raise MeasurementError(
                f"{self.culprits} models in a row ended their worker on {self.device.name}, the last {culprit}; "
                "the same command goes on with the next"
            ) from culprit

    def _count_loss(self, loss: Exception, *, is_progress: bool) -> None:
        """Get ready for another worker after one was lost that nobody is to blame for, unless too many were."""
        self.suspicious = True
        self.end()
        self.losses = 1 if is_progress else self.losses + 1
        if self.losses >= MAX_LOSSES or self.hangs >= MAX_HANGS:
            raise MeasurementError(f"lost {self.losses} workers in a row on {self.device.name}: {loss}") from loss
        if not self.device.is_here:
            sleep(RECONNECT_S[self.losses - 1])

    def _measure_group(self, journal: Journal, done: Sequence[int]) -> None:
        """Measure the group that is furthest behind, until others have their turn."""
        group = done.index(min(done))
        target = min(self.settings.rounds, (min(done) // ROUNDS_PER_RESTART + 1) * ROUNDS_PER_RESTART)
        if self.runtime.reopens_quickly and not self.is_fresh:
            # The same file opened twice differs by up to 5 % for as long as both are open, most likely by where
            # they lie in memory: each restart draws that anew.
            self.end()
        self._switch_to(group)
        self._open_missing(journal)
        self._measure_rounds(journal, target - done[group])

    def measure_pace(self, journal: Journal) -> None:
        """Have the worker tell its pace now that nothing is measured, where it told it in the last round."""
        is_told = bool(journal.rounds) and journal.rounds[-1].pace is not None
        if not is_told or journal.pace_after is not None or self.client is None:
            return
        timeout_s = self.device.visit_timeout_s + AFTER_REPEATS * AFTER_PAUSE_S
        try:
            answer = self.client.pace(repeats=AFTER_REPEATS, pause_s=AFTER_PAUSE_S, timeout_s=timeout_s)
        except WorkerLostError:
            return  # everything is measured; one more hint is not worth another worker
        journal.add_pace(list(answer.wall_ns), list(answer.cpu_ns))

    def start_worker(self) -> WorkerClient:
        """Start a worker and let it describe itself."""
        device = self.device
        hint = "" if device.is_here else f"; {remedy(device)}"
        try:
            client = self.client = WorkerClient(self.transport.start(self.runtime.program))
            answer = client.start(
                threads=device.threads,
                cores=device.cores,
                options=worker_options(device),
                timeout_s=device.start_timeout_s,
            )
        except WorkerLostError as loss:
            raise _StartError(f"cannot start a worker for {device.name}: {loss}{hint}") from loss
        if isinstance(answer, Failed):
            raise _StartError(f"cannot start a worker for {device.name}: {answer.message}{hint}")
        self.is_fresh = True
        self.health = asdict(answer.health)
        self.about_worker = answer.facts
        return client

    def end(self) -> None:
        """End the worker that is up, if one is."""
        if self.client is not None:
            self.client.kill()
        self.client = None
        self.opened.clear()
        self.reference.end()

    def _switch_to(self, group: int) -> None:
        if self.open_group not in (None, group):
            self.end()  # its memory with it
        self.open_group = group
        if self.client is None:
            self.start_worker()

    def _begin_restart(self, journal: Journal) -> None:
        """Give the rounds of a worker that has measured none a number."""
        if self.is_fresh:
            self.restart = max((record.restart for record in journal.rounds), default=-1) + 1
            self.is_fresh = False

    def _open_missing(self, journal: Journal) -> None:
        assert self.client is not None and self.open_group is not None
        members = self.groups[self.open_group]
        missing = [i for i in members if i not in journal.failures and i not in self.opened]
        missing = [i for i in missing if self._is_converted(i, journal)]
        places = dict(zip(missing, self.transport.place([self.files[i] for i in missing]), strict=True))
        for number, index in enumerate(members, start=1):
            if index not in places:
                continue
            try:
                answer = self.client.open(index, places[index], timeout_s=self.device.open_timeout_s)
            except WorkerLostError as loss:
                raise _CulpritError(index, f"while opening: {loss}") from loss
            wrong = answer.message if isinstance(answer, Failed) else self._difference_to_here(index, answer)
            if wrong is None:
                self.opened.add(index)
                self.ever_opened.add(index)
            else:
                journal.add_failure(index, wrong)
            self.settings.on_progress("open", number, len(members))

    def _is_converted(self, index: int, journal: Journal) -> bool:
        """Have a model's file converted where the runtime needs that; return whether there is one to open."""
        if index not in self.files:
            try:
                self.files[index] = self.file_of(self.models[index].path)
            except ConversionError as error:
                journal.add_failure(index, str(error))
                return False
        return True

    def file_of(self, model: Path) -> Path:
        """Return what the runtime opens for an ONNX file: the file, or what its converter makes of it.

        Raises:
            ConversionError: the converter cannot take it.
        """
        if self.runtime.reads_onnx:
            return model
        device = self.device
        return converted(model, self.runtime, arithmetic=device.arithmetic, timeout_s=device.open_timeout_s)

    def _difference_to_here(self, index: int, answer: Opened) -> str | None:
        """Return what is wrong with what another machine computed; None where it computed what this one does."""
        is_same_program = self.runtime.is_reference and self.device.provider == "cpu"
        is_reference = is_same_program and self.device.is_here
        if self.runtime.comparison != "here" or is_reference or index in self.verified:
            return None
        arithmetic = None if is_same_program else self.device.arithmetic
        difference = self.reference.difference(self.models[index].path, answer.outputs, arithmetic)
        if difference is None:
            self.verified.add(index)
        return difference

    def _measure_rounds(self, journal: Journal, num: int) -> None:
        assert self.open_group is not None
        self._begin_restart(journal)
        for _ in range(num if self.opened else 0):
            done = self.rounds_done(journal)
            self.settings.on_progress("round", sum(done) // len(done), self.settings.rounds)
            rng = np.random.default_rng([self.settings.seed, self.open_group, done[self.open_group]])
            order = [int(i) for i in rng.permutation(sorted(self.opened))]
            order = [*order[self.losses :], *order[: self.losses]]  # what is last of a round cannot be blamed for it
            answer = self._one_round(order)
            while answer.throttled:
                journal.add_throttled_round(self.open_group, order, list(answer.wall_ns))
                if journal.num_throttled > self.settings.rounds:
                    raise MeasurementError(
                        f"{self.device.name} was throttled in {journal.num_throttled} rounds: cool it, or give it a "
                        "better power supply; the same command continues"
                    )
                sleep(COOLING_S)
                answer = self._one_round(order)
            journal.add_round(self.open_group, self.restart, answer)
            self.losses = self.hangs = 0
        done = self.rounds_done(journal)
        self.settings.on_progress("round", sum(done) // len(done), self.settings.rounds)

    def _one_round(self, order: list[int]) -> Round:
        """Return one round's answer.

        The first is announced visit by visit, which bounds every visit and times a round.
        """
        assert self.client is not None and self.open_group is not None
        expected_s = None if self.suspicious else self.round_s.get(self.open_group)
        started = monotonic()
        try:
            answer = self.client.round(order, visit_timeout_s=self.device.visit_timeout_s, expected_s=expected_s)
        except WorkerLostError as loss:
            if self.client.visiting is None or not self.suspicious:
                is_hang = isinstance(loss, NoAnswerError) and expected_s is None and self.client.visiting is None
                self.hangs += is_hang
                raise
            raise _CulpritError(self.client.visiting, f"while timed: {loss}") from loss
        elapsed_s = monotonic() - started
        self.round_s.setdefault(self.open_group, elapsed_s)
        self.inference_s += elapsed_s
        return answer


class _StartError(MeasurementError):
    """No worker could be started."""


class _CulpritError(Exception):
    """A worker was lost and one model is to blame."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
