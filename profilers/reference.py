"""The outputs that this machine computes, for other machines to be compared with."""

from __future__ import annotations

from pathlib import Path

import onnx

from onnx_models.parity import SAME_PROGRAM, TOLERANCE, Outputs, Tolerance, difference
from profilers.errors import WorkerLostError
from profilers.events import Failed, Opened
from profilers.quoting import printable
from profilers.runtime import RUNTIMES
from profilers.transport import LocalTransport
from profilers.worker_client import WorkerClient

SHARES = {"fp32": TOLERANCE, "fp16": 0.01, "bf16": 0.05, "int8": 0.1}
"""The largest differences between two runtimes' outputs, as shares of the largest value. OpenVINO's were up to 1e-6 in
single precision, 7e-3 in bfloat16 and 3e-2 in the floats that quantized networks give, over the blocks of fbnet-s and
nasbench-macro; of networks that compute something else they are about 1."""

SMALLEST = 1e-9
"""Outputs of networks with random weights are small: measured by 1, anything would agree with them."""


class Reference:
    """ONNX Runtime on this machine, in a worker that is started when it is needed."""

    def __init__(self, *, start_timeout_s: float, open_timeout_s: float) -> None:
        self._start_timeout_s = start_timeout_s
        self._open_timeout_s = open_timeout_s
        self._client: WorkerClient | None = None
        self._runtime = next(runtime for runtime in RUNTIMES.values() if runtime.is_reference)

    def difference(self, path: Path, outputs: Outputs, arithmetic: str | None = None) -> str | None:
        """Return what is wrong with what was computed elsewhere; None where it is what ONNX Runtime computes here.

        Args:
            arithmetic: what another runtime computes float models in; None where it was ONNX Runtime on its CPU.
        """
        try:
            answer = self._opened(path)
        except WorkerLostError as loss:
            self.end()
            return f"cannot be compared with what this machine computes: {loss}"
        if isinstance(answer, Failed):
            return f"cannot be compared with what this machine computes: {answer.message}"
        tolerance = SAME_PROGRAM if arithmetic is None else _tolerance(path, arithmetic)
        wrong = difference(outputs, answer.outputs, tolerance)
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


def _tolerance(path: Path, arithmetic: str) -> Tolerance:
    """Return what may be between two runtimes; steps of integers that a quantized model gives may be off by one."""
    model = onnx.load(path, load_external_data=False)
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        is_integer = all(v.type.tensor_type.elem_type in _INTEGERS for v in model.graph.output)
        if is_integer:
            return Tolerance(share=0.0, at_least=1.0)
        return Tolerance(share=SHARES["int8"], smallest=SMALLEST)
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        arithmetic = "fp16"
    return Tolerance(share=SHARES[arithmetic], smallest=SMALLEST)


_INTEGERS = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)
