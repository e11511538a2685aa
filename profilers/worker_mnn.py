"""Runs models with MNN, on the processor.

The runtime's part of a worker: `worker_loop.py` says how it is used. Stands alone with python, numpy and MNN. Opens
what `converter_mnn.py` wrote. MNN would by itself use four threads, and half precision on processors that have it: both
are set.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Read once, when OpenMP is loaded: its threads would otherwise spin on cores that are timed.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

try:
    import MNN
except ImportError as error:
    raise RuntimeError(f"{error}; install MNN: pip install mnn") from error

PRECISIONS = {"fp32": "high", "fp16": "low"}
"""What MNN calls the arithmetics of hwnas: "normal", its default, is the processor's choice."""

TYPES = {"f": (MNN.Halide_Type_Float, np.float32), "i": (MNN.Halide_Type_Int, np.int32)}
"""MNN's types by numpy's kind: it computes in 32 bits what ONNX has in 64."""

NCHW = MNN.Tensor_DimensionType_Caffe


class Runtime:
    """MNN on the processor."""

    is_cpu = True

    def __init__(self, threads: int, options: dict[str, Any]) -> None:
        arithmetic = options.get("arithmetic") or "fp32"
        if arithmetic == "fp16" and not computes_half():
            raise RuntimeError("this processor computes no fp16 (asimdhp of ARM's version 8.2): set arithmetic: fp32")
        self._settings = {
            "backend": "CPU",
            "numThread": threads,
            "precision": PRECISIONS[arithmetic],
            "memory": "normal",  # "low" would compute with weights of fewer bits
            "power": "normal",  # others move threads to cores of MNN's own choice
        }
        self.facts: dict[str, object] = {"mnn": MNN.version(), "inference_precision": arithmetic}

    def open(self, path: str) -> Model:
        """Load a converted model and make a session of it.

        Raises:
            RuntimeError: MNN cannot prepare it, in MNN's words.
        """
        ends = json.loads(Path(path, "ends.json").read_text(encoding="utf-8"))
        with heard() as words:
            model = Model(MNN.Interpreter(str(Path(path, "model.mnn"))), self._settings, ends)
        if not model.is_ready:
            raise RuntimeError(f"MNN cannot prepare it: {'; '.join(words) or 'without a word'}")
        return model

    def inspect(self, path: str) -> tuple[list[str], list[str], list[float]]:
        """Return the operations of a model in the order they run; none is left to another device, and none is timed.

        Conversions of layouts are called as ONNX Runtime calls its own: MNN computes convolutions in blocks of
        channels, and its "rasters" at a model's ends, where feature maps come and go, do nothing else.
        """
        model = self.open(path)
        return model.operations(), [], []


def computes_half() -> bool:
    """Return whether this processor computes in half precision; elsewhere MNN takes fp32 in silence."""
    if platform.machine() not in ("aarch64", "arm64"):
        return False
    try:
        return "asimdhp" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.system() == "Darwin"


def named(ran: list[str], *, gives_map: bool) -> list[str]:
    """Return operations under ONNX Runtime's names where those are known: additions, and conversions of layouts."""
    names = ["Add" if kind == "BinaryOp" else kind for kind in ran]
    if names[:1] == ["Raster"]:
        names[0] = "ReorderInput"
    if gives_map:
        last = len(names) - 1 - (names[-1:] == ["Add"])  # of what is added to, where that ends the model
        if last > 0 and names[last] == "Raster":
            names[last] = "ReorderOutput"
    return names


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """Collect the lines that are printed meanwhile: MNN raises nothing, but tells there."""
    words: list[str] = []
    c_library = ctypes.CDLL(None)
    kept = {number: os.dup(number) for number in (1, 2)}
    with tempfile.TemporaryFile() as file:
        for number in kept:
            os.dup2(file.fileno(), number)
        try:
            yield words
        finally:
            c_library.fflush(None)
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            said = file.read().decode(errors="replace").splitlines()
            words.extend(line for line in said if not line.startswith("MNN use "))  # what it was told


class Model:
    """A model and its one session. MNN reads inputs from places of its own: copying them there is part of a run."""

    def __init__(self, interpreter: MNN.Interpreter, settings: dict[str, Any], ends: dict[str, Any]) -> None:
        self._interpreter, self._ends = interpreter, ends
        self._session = interpreter.createSession(settings)
        self.inputs = [(end["name"], end["shape"], end["dtype"]) for end in ends["inputs"]]
        places = interpreter.getSessionInputAll(self._session)
        self._inputs = [places.get(name) for name, _, _ in self.inputs]
        found = interpreter.getSessionOutputAll(self._session)
        self._outputs = [found.get(end["name"]) for end in ends["outputs"]]

    @property
    def is_ready(self) -> bool:
        """Whether the session has a place for every input and output, of the ONNX model's size where that is fixed."""
        places, ends = [*self._inputs, *self._outputs], [*self._ends["inputs"], *self._ends["outputs"]]
        return all(
            place is not None and (0 in end["shape"] or np.prod(place.getShape()) == np.prod(end["shape"]))
            for place, end in zip(places, ends, strict=True)
        )

    def operations(self) -> list[str]:
        """Run on zeros, and return the kinds of the operations that ran."""
        self.run(self.bind([np.zeros(shape, dtype=dtype) for _, shape, dtype in self.inputs]))
        ran: list[str] = []

        def note(_: Any, operation: MNN.OpInfo) -> bool:
            ran.append(operation.getType())
            return True

        self._interpreter.runSessionWithCallBackInfo(self._session, note, lambda *_: True)
        return named(ran, gives_map=len(self._ends["outputs"][0]["shape"]) == 4)

    def bind(self, values: list[np.ndarray]) -> list[tuple[MNN.Tensor, MNN.Tensor]]:
        """Return the places of the inputs with tensors of these values."""
        return [(place, tensor(value, place.getShape())) for place, value in zip(self._inputs, values, strict=True)]

    def run(self, bound: list[tuple[MNN.Tensor, MNN.Tensor]]) -> None:
        """Copy the inputs into their places and run in this thread.

        Raises:
            RuntimeError: MNN says that it failed.
        """
        for place, value in bound:
            place.copyFrom(value)
        if code := self._interpreter.runSession(self._session):
            raise RuntimeError(f"MNN cannot run it: code {code}")

    def outputs(self, bound: list[tuple[MNN.Tensor, MNN.Tensor]]) -> list[np.ndarray]:
        """Return the results of the last run, in the ONNX model's shapes."""
        found = []
        for place, end in zip(self._outputs, self._ends["outputs"], strict=True):
            copy = tensor(np.zeros(place.getShape(), dtype=end["dtype"]), place.getShape())
            place.copyToHostTensor(copy)
            shape = end["shape"] if all(end["shape"]) else place.getShape()
            found.append(np.array(copy.getNumpyData()).reshape(shape).astype(end["dtype"]))
        return found


def tensor(value: np.ndarray, shape: tuple[int, ...]) -> MNN.Tensor:
    """Return a tensor of MNN's with those values.

    Raises:
        TypeError: MNN has no such type.
    """
    kind = "i" if value.dtype.kind == "u" else value.dtype.kind
    if kind not in TYPES:
        raise TypeError(f"MNN takes no inputs or outputs of {value.dtype}: floats and integers")
    mnn_type, dtype = TYPES[kind]
    return MNN.Tensor(tuple(shape), mnn_type, np.ascontiguousarray(value, dtype=dtype).reshape(shape), NCHW)
