"""Timing models on a device by interleaved rounds."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profilers.device import Device, remedy, require_measurable
from profilers.errors import MeasurementError, WorkerLostError
from profilers.events import Inspected
from profilers.host_names import require_resolved, ssh_host
from profilers.journal import Journal
from profilers.measurement import Measurement, Model
from profilers.pace import Pace
from profilers.session import MAX_LOSSES, Session, collect, collect_pace
from profilers.transport import Transport, transport_for, worker_file

REACH_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """The result of inspecting a model: what a runtime makes of it.

    Attributes:
        operations: of the optimised graph, in the order they run.
        energy_mj: of one run, in millijoules, everything included that the processor does; None where the device has no
            counter that may be read.
    """

    operations: tuple[str, ...]
    energy_mj: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileResult:
    """The results of measuring.

    Attributes:
        measurements: in the order of the models.
        worker: what the worker said of itself and its machine.
        health: temperature and free memory of the machine when the last worker was started, where it tells.
        num_rounds: rounds that every group of models was measured for.
        num_throttled: rounds that were repeated, since the device was throttled during them.
        num_groups: groups that the models were split into because all together do not fit in memory.
        stopped_by: "settled", "rounds" or "minutes".
        inference_s: time the worker spent in rounds, in seconds.
        pace: of a fixed piece of work during the rounds and after them; None where the worker tells none.
    """

    measurements: tuple[Measurement, ...]
    worker: Mapping[str, object]
    health: Mapping[str, object]
    num_rounds: int
    num_groups: int
    num_throttled: int
    stopped_by: str
    inference_s: float
    pace: Pace | None = None


@dataclass(kw_only=True, slots=True)
class Profiler:
    """Times models on a device by the interleaved protocol.

    Every model is opened first. A round then visits each once, in an order drawn from the seed; a visit runs the model
    four times and keeps the fourth time, when blocks and networks are both at their steady speed, and drift of the
    machine hits all alike. Every ten rounds all are opened anew, since latency depends on that too.
    Models that do not fit in memory together are measured in groups that take turns and share anchor models.

    Attributes:
        device: threads, cores and deadlines.
        rounds: how many rounds to measure at most.
        max_minutes: stop measuring after that long, with the rounds there are.
        seed: order of visits.
        memory_mb: what opened models may take together; None for half of what is available.
        transport: the way to the device's workers; None for what the device says.
        is_settled: asked now and then whether the measurements so far are enough.
        on_progress: told what is done of how much, with "open" or "round" as the first word.
    """

    device: Device
    rounds: int = 60
    max_minutes: float = 60.0
    seed: int = 0
    memory_mb: float | None = None
    transport: Transport | None = None
    is_settled: Callable[[Sequence[Measurement]], bool] = lambda _: False
    on_progress: Callable[[str, int, int], None] = lambda *_: None

    def measure(self, models: Sequence[Model], journal_path: Path) -> ProfileResult:
        """Measure all models; continue the journal where there is one.

        A model that the runtime rejects, that crashes it or that does not answer in time becomes an entry with an
        error; the others are measured all the same.

        Raises:
            MeasurementError: no worker can be kept alive, or not one model can be measured.
            JournalError: the journal belongs to other models, another device or other versions.
            DeviceError: the device is none to measure on, or this machine has fewer cores than it has threads.
        """
        self._require_known_host()
        if self.device.rpc is not None and self.device.rpc.boards > 1:
            from profilers.pool import measure_on_boards  # it measures each board's share with a profiler of its own

            return measure_on_boards(self, models, journal_path)
        session = Session(self, models)
        try:
            session.start_worker()
            journal = Journal(journal_path, session.identity(), groups=session.groups)
            session.groups = journal.groups
            try:
                stopped_by = session.run(journal)
                session.measure_pace(journal)
            finally:
                journal.close()
        finally:
            session.end()
        result = ProfileResult(
            measurements=collect(models, journal),
            worker=session.about_worker,
            health=session.health,
            num_rounds=min(session.rounds_done(journal)),
            num_groups=len(session.groups),
            num_throttled=journal.num_throttled,
            stopped_by=stopped_by,
            inference_s=session.inference_s,
            pace=collect_pace(journal),
        )
        if all(m.error is not None for m in result.measurements):
            raise MeasurementError(
                f"not one of {len(models)} models could be measured: {result.measurements[0].error}; to try them again "
                f"remove {journal_path}"
            )
        return result

    def require_reachable(self) -> None:
        """Find out, in seconds and before any work is done for it, whether a device elsewhere is there at all.

        Raises:
            MeasurementError: it is not.
            DeviceError: it is none to measure on, or this machine has fewer cores than it has threads.
        """
        device = self.device
        self._require_known_host()
        if device.rpc is not None:
            try:
                with socket.create_connection((device.rpc.host, device.rpc.port), timeout=REACH_TIMEOUT_S):
                    return
            except OSError as error:
                where = f"{device.rpc.host}:{device.rpc.port}"
                raise MeasurementError(f"cannot reach {device.name} at {where}: {error}; {remedy(device)}") from error
        if not device.is_here:
            try:
                (self.transport or transport_for(device)).place([worker_file(device.runtime)])
            except WorkerLostError as error:
                raise MeasurementError(f"cannot reach {device.name}: {error}; {remedy(device)}") from error

    def _require_known_host(self) -> None:
        """Find out whether the device is one to measure on, and its host has an address."""
        device = self.device
        require_measurable(device)
        if device.rpc is not None:
            name: str | None = device.rpc.host
        else:
            name = None if device.ssh is None else ssh_host(device.ssh.host, device.ssh.options)
        try:
            if name is not None:
                require_resolved(name)
        except OSError as error:
            raise MeasurementError(f"cannot reach {device.name}: {error}; {remedy(device)}") from error

    def inspect(self, models: Sequence[Model]) -> dict[str, Inspection]:
        """Return what the runtime makes of the models, by key.

        Models that the runtime rejects or that crash it are left out; where several in a row do, the rest is too.

        Raises:
            MeasurementError: no worker can be started.
        """
        found: dict[str, Inspection] = {}
        if self.device.runtime != "onnxruntime":
            return found  # other runtimes have no layouts of their own
        session = Session(self, models)
        losses = 0
        try:
            for model in models:
                client = session.client or session.start_worker()
                try:
                    (path,) = session.transport.place([model.path])
                    answer = client.inspect(path, threads=self.device.threads, timeout_s=self.device.open_timeout_s)
                except WorkerLostError:
                    session.end()
                    losses += 1
                    if losses == MAX_LOSSES:
                        break
                    continue
                losses = 0
                if isinstance(answer, Inspected):
                    found[model.key] = Inspection(operations=answer.operations, energy_mj=answer.energy_mj)
        finally:
            session.end()
        return found
