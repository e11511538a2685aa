"""The outputs that this machine computes, for other machines to be compared with."""

from __future__ import annotations

from pathlib import Path

from onnx_models.parity import Outputs, difference
from profilers.errors import WorkerLostError
from profilers.events import Failed, Opened
from profilers.quoting import printable
from profilers.runtime import RUNTIMES
from profilers.transport import LocalTransport
from profilers.worker_client import WorkerClient


class Reference:
    """ONNX Runtime on this machine, in a worker that is started when it is needed."""

    def __init__(self, *, start_timeout_s: float, open_timeout_s: float) -> None:
        self._start_timeout_s = start_timeout_s
        self._open_timeout_s = open_timeout_s
        self._client: WorkerClient | None = None
        self._runtime = next(runtime for runtime in RUNTIMES.values() if runtime.is_reference)

    def difference(self, path: Path, outputs: Outputs) -> str | None:
        """Return what is wrong with what another machine computed; None where it computed what this one does."""
        try:
            answer = self._opened(path)
        except WorkerLostError as loss:
            self.end()
            return f"cannot be compared with what this machine computes: {loss}"
        if isinstance(answer, Failed):
            return f"cannot be compared with what this machine computes: {answer.message}"
        wrong = difference(outputs, answer.outputs)
        return None if wrong is None else f"computes something else than this machine: {printable(wrong)}"

    def end(self) -> None:
        """End the worker, if there is one."""
        if self._client is not None:
            self._client.kill()
        self._client = None

    def _opened(self, path: Path) -> Opened | Failed:
        if self._client is None:
            self._client = WorkerClient(LocalTransport().start(self._runtime.program))
            options = {"provider": "cpu"}
            started = self._client.start(threads=1, cores=None, options=options, timeout_s=self._start_timeout_s)
            if isinstance(started, Failed):
                raise WorkerLostError(started.message)
        return self._client.open(0, str(path), timeout_s=self._open_timeout_s)
