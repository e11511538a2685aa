"""What a device's runtime computes from given inputs, on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from profilers.device import Device
from profilers.errors import MeasurementError, WorkerLostError
from profilers.events import Failed
from profilers.runtime import runtime_of
from profilers.transport import LocalTransport
from profilers.worker_client import WorkerClient
from profilers.worker_options import worker_options

COMPUTE_TIMEOUT_S = 600.0
"""For one call, of some hundreds of inputs."""


class RuntimeNetwork:
    """A model of one input and one output that a device's runtime computes in a worker on this machine.

    A context manager, which ends the worker.

    Args:
        model: what the runtime opens: an ONNX file, or an archive of what its converter made.

    Raises:
        MeasurementError: the runtime is not there, or cannot open the model.
    """

    def __init__(self, device: Device, model: Path) -> None:
        self._batch = device.batch
        self._client: WorkerClient | None = None
        try:
            self._client = WorkerClient(LocalTransport().start(runtime_of(device.runtime).program))
            options, wait_s = worker_options(device), device.start_timeout_s
            _require(self._client.start(threads=1, cores=None, options=options, timeout_s=wait_s))
            _require(self._client.open(0, str(model), timeout_s=device.open_timeout_s))
        except (WorkerLostError, MeasurementError) as loss:
            self.end()
            raise MeasurementError(f"{device.runtime} cannot run it here: {loss}") from loss

    def __enter__(self) -> RuntimeNetwork:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.end()

    def __call__(self, x: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the outputs for inputs [N, ...], of any number; the last batch is filled up.

        Raises:
            MeasurementError: the runtime cannot compute them.
        """
        assert self._client is not None
        filled = np.concatenate([x, np.zeros((-len(x) % self._batch, *x.shape[1:]), x.dtype)])
        with tempfile.TemporaryDirectory() as folder:
            inputs, outputs = Path(folder) / "inputs.npy", Path(folder) / "outputs.npy"
            np.save(inputs, filled)
            try:
                _require(self._client.compute(0, str(inputs), str(outputs), timeout_s=COMPUTE_TIMEOUT_S))
                computed: NDArray[np.generic] = np.load(outputs, allow_pickle=False)
            except (WorkerLostError, OSError, ValueError) as loss:
                raise MeasurementError(f"cannot be run on these inputs: {loss}") from loss
        return computed[: len(x)]

    def end(self) -> None:
        """End the worker."""
        if self._client is not None:
            self._client.kill()
        self._client = None


def _require(answer: object) -> None:
    if isinstance(answer, Failed):
        raise MeasurementError(answer.message)
