"""The outputs that this machine computes, for other machines to be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from profilers.errors import WorkerLostError
from profilers.events import Failed, Opened
from profilers.quoting import printable
from profilers.transport import WORKERS, LocalTransport
from profilers.worker_client import WorkerClient

PARITY = 1e-4
"""Largest difference between another machine's outputs and this one's; relative to the largest, if that is above 1."""

Outputs = Sequence[Sequence[float | None]]
"""Some values of every output of a model; None for what is not finite."""


class Reference:
    """ONNX Runtime on this machine, in a worker that is started when it is needed."""

    def __init__(self, *, start_timeout_s: float, open_timeout_s: float) -> None:
        self._start_timeout_s = start_timeout_s
        self._open_timeout_s = open_timeout_s
        self._client: WorkerClient | None = None

    def difference(self, path: Path, outputs: Outputs) -> str | None:
        """Return what is wrong with what another machine computed; None where it computed what this one does."""
        try:
            answer = self._opened(path)
        except WorkerLostError as loss:
            self.end()
            return f"cannot be compared with what this machine computes: {loss}"
        if isinstance(answer, Failed):
            return f"cannot be compared with what this machine computes: {answer.message}"
        return difference(outputs, answer.outputs)

    def end(self) -> None:
        """End the worker, if there is one."""
        if self._client is not None:
            self._client.kill()
        self._client = None

    def _opened(self, path: Path) -> Opened | Failed:
        if self._client is None:
            self._client = WorkerClient(LocalTransport().start(WORKERS["onnxruntime"]))
            options = {"provider": "cpu"}
            started = self._client.start(threads=1, cores=None, options=options, timeout_s=self._start_timeout_s)
            if isinstance(started, Failed):
                raise WorkerLostError(started.message)
        return self._client.open(0, str(path), timeout_s=self._open_timeout_s)


def difference(found: Outputs, expected: Outputs) -> str | None:
    """Return by how much outputs differ from those expected; None where they agree."""
    sizes, expected_sizes = [len(values) for values in found], [len(values) for values in expected]
    if sizes != expected_sizes:
        return "computes something else than this machine: " + printable(
            f"expected outputs of {expected_sizes} values, found {sizes}"
        )
    for found_values, values in zip(found, expected, strict=True):
        limit = PARITY * max([1.0, *(abs(v) for v in values if v is not None)])
        for a, b in zip(found_values, values, strict=True):
            if a is None or b is None:
                if a is not b:
                    return "computes something else than this machine: infinity or no number in only one of the two"
            elif abs(a - b) > limit:
                return f"computes something else than this machine: outputs differ by {abs(a - b):.3g}"
    return None
