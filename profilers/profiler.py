"""Timing models on a device by interleaved rounds."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profilers.boards import measure_on_boards
from profilers.collection import collect, collect_pace
from profilers.device import require_measurable
from profilers.errors import ConversionError, MeasurementError, WorkerLostError
from profilers.events import Inspected
from profilers.host_names import require_resolved, ssh_host
from profilers.journal import Journal
from profilers.measurement import Model
from profilers.remedies import remedy
from profilers.result import Inspection, ProfileResult
from profilers.runtime import runtime_of
from profilers.session import MAX_LOSSES, Session
from profilers.settings import ProfilerSettings
from profilers.transport import transport_for

REACH_TIMEOUT_S = 5.0


@dataclass(kw_only=True, slots=True)
class Profiler(ProfilerSettings):
    """Times models on a device by the interleaved protocol.

    Every model is opened first. A round then visits each once, in an order drawn from the seed; a visit runs the model
    four times and keeps the fourth time, when blocks and networks are both at their steady speed, and drift of the
    machine hits all alike. Every ten rounds all are opened anew, since latency depends on that too.
    Models that do not fit in memory together are measured in groups that take turns and share anchor models.
    """

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
            return measure_on_boards(self, models, journal_path, Profiler.measure)
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
                (self.transport or transport_for(device)).place(runtime_of(device.runtime).program)
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
        if not runtime_of(self.device.runtime).tells_operations:
            return found
        session = Session(self, models)
        losses = 0
        try:
            for model in models:
                client = session.client or session.start_worker()
                try:
                    (path,) = session.transport.place([session.file_of(model.path)])
                    answer = client.inspect(path, threads=self.device.threads, timeout_s=self.device.open_timeout_s)
                except ConversionError:
                    continue
                except WorkerLostError:
                    session.end()
                    losses += 1
                    if losses == MAX_LOSSES:
                        break
                    continue
                losses = 0
                if isinstance(answer, Inspected):
                    found[model.key] = Inspection(
                        operations=answer.operations,
                        fallbacks=answer.fallbacks,
                        operation_us=answer.operation_us,
                        energy_mj=answer.energy_mj,
                    )
        finally:
            session.end()
        return found
