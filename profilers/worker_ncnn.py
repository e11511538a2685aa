"""Runs models with ncnn, on the processor.

The runtime's part of a worker: `worker_loop.py` says how it is used. Stands alone with python, numpy and ncnn. Opens
what `converter_ncnn.py` wrote. ncnn would by itself use two threads or more, and half precision wherever the processor
has it: both are set.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Read once, when OpenMP is loaded: its threads would otherwise spin on cores that are timed.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

try:
    import ncnn
except ImportError as error:
    raise RuntimeError(f"{error}; install ncnn: pip install ncnn") from error

HALF = {
    "fp16": ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"),
    "bf16": ("use_bf16_packed", "use_bf16_storage"),
}
"""The options that take float models to another arithmetic than fp32."""

HANDED_ON = "7767517\n2 2\nInput in0 0 1 in0\nNoop noop 1 1 in0 out0\n"
"""A model that does nothing: what it gives lies in memory as ncnn's layers hand it on."""

NO_BATCH = 233
"""What ncnn takes for: no axis is the batch."""


class Runtime:
    """ncnn on the processor."""

    is_cpu = True

    def __init__(self, threads: int, options: dict[str, Any]) -> None:
        self._threads = threads
        self._arithmetic = options.get("arithmetic") or "fp32"
        if self._arithmetic == "fp16" and not ncnn.cpu_support_arm_asimdhp():
            raise RuntimeError("this processor computes no fp16 (asimdhp of ARM's version 8.2): set arithmetic: fp32")
        self.facts: dict[str, object] = {"ncnn": ncnn.__version__, "inference_precision": self._arithmetic}
        self._handing_on = self._net()
        self._handing_on.load_param_mem(HANDED_ON)

    def open(self, path: str) -> Model:
        """Load a converted model.

        Raises:
            RuntimeError: it has layers that ncnn does not know, in ncnn's words.
        """
        net, folder = self._net(), Path(path)
        ends = json.loads((folder / "ends.json").read_text(encoding="utf-8"))
        with heard() as words:
            code = net.load_param(str(folder / "model.param")) or net.load_model(str(folder / "model.bin"))
        if code:
            raise RuntimeError(f"ncnn cannot load it: {'; '.join(words) or code}")
        return Model(net, self._handing_on, ends)

    def _net(self) -> ncnn.Net:
        """Return an empty model with everything set that ncnn would choose by itself."""
        net = ncnn.Net()
        net.opt.num_threads = self._threads
        net.opt.openmp_blocktime = 0
        net.opt.use_vulkan_compute = False
        for arithmetic, names in HALF.items():
            for name in names:
                setattr(net.opt, name, arithmetic == self._arithmetic)
        return net


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """Collect the lines that are printed to standard error meanwhile: ncnn raises nothing, but tells there."""
    words: list[str] = []
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield words
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            words.extend(file.read().decode(errors="replace").splitlines())


class Bound:
    """Inputs in ncnn's memory, and what the last run on them gave."""

    def __init__(self, inputs: list[ncnn.Mat]) -> None:
        self.inputs = inputs
        self.results: list[tuple[int, ncnn.Mat]] = []


class Model:
    """A loaded model.

    Blocks are given what the layers before would hand on, channels packed for the processor's vectors, and what they
    give is left as it is for the layers behind: in a network, nothing is packed and unpacked between blocks.
    """

    def __init__(self, net: ncnn.Net, handing_on: ncnn.Net, ends: dict[str, Any]) -> None:
        self._net, self._handing_on, self._ends = net, handing_on, ends
        self.inputs = [(end["name"], end["shape"], end["dtype"]) for end in ends["inputs"]]
        self._inputs = [end["blob"] for end in ends["inputs"]]
        self._outputs = [end["blob"] for end in ends["outputs"]]

    def bind(self, values: list[np.ndarray]) -> Bound:
        """Copy values into ncnn's memory."""
        mats = []
        for value, end in zip(values, self._ends["inputs"], strict=True):
            typed = value.astype(np.int32) if value.dtype.kind in "iu" else value.astype(np.float32)
            mat = ncnn.Mat(np.ascontiguousarray(typed), batch_index=_batch_index(end)).clone()
            mats.append(self._handed_on(mat) if typed.dtype == np.float32 and value.ndim > 1 else mat)
        return Bound(mats)

    def run(self, bound: Bound) -> None:
        """Run in this thread; what comes out stays in the layout that it has in a network.

        Raises:
            RuntimeError: ncnn says that it failed.
        """
        bound.results = self._extracted(bound, 1)
        if any(code for code, _ in bound.results):
            raise RuntimeError(f"ncnn cannot run it: code {next(code for code, _ in bound.results if code)}")

    def outputs(self, bound: Bound) -> list[np.ndarray]:
        """Run once more, and return the results unpacked, in the ONNX model's shapes."""
        found = []
        for (_, mat), end in zip(self._extracted(bound, 0), self._ends["outputs"], strict=True):
            values = np.array(mat.numpy(batch_index=_batch_index(end)))
            found.append(values.reshape(end["shape"] if all(end["shape"]) else values.shape).astype(end["dtype"]))
        return found

    def _extracted(self, bound: Bound, layout: int) -> list[tuple[int, ncnn.Mat]]:
        extractor = self._net.create_extractor()
        for name, mat in zip(self._inputs, bound.inputs, strict=True):
            extractor.input(name, mat)
        return [extractor.extract(name, layout) for name in self._outputs]

    def _handed_on(self, mat: ncnn.Mat) -> ncnn.Mat:
        extractor = self._handing_on.create_extractor()
        extractor.input("in0", mat)
        code, packed = extractor.extract("out0", 1)
        return mat if code else packed


def _batch_index(end: dict[str, Any]) -> int:
    return NO_BATCH if end["batch_axis"] is None else int(end["batch_axis"])
