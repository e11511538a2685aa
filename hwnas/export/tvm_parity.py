"""TVM against ONNX Runtime on real images.

Also a program, so that a crash of the compiler costs this one comparison; images and outputs are in NumPy's format:

    python -m hwnas.export.tvm_parity MODEL IMAGES OUTPUTS
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from hwnas.errors import RunError
from onnx_models.parity import Parity, Predictions, largest, parity_of
from onnx_models.session import OnnxNetwork

MOST_S = 300.0
"""No further image is begun after so many seconds of running."""

MOST_BYTES = 2**31
"""The bytes of images beyond which no more are handed over."""

TIMEOUT_S = 900.0
"""The seconds that compiling and running may take together."""


def has_tvm() -> bool:
    """Return whether TVM is installed."""
    return find_spec("tvm") is not None


def compare_with_tvm(
    path: Path, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], predictions: Predictions = largest
) -> Parity:
    """Compile the model for this processor and run it on the images, as many as five minutes and two gigabytes allow.

    Args:
        path: the ONNX file, of a fixed batch.
        batches: x_NCHW and targets_N.
        predictions: what outputs say.

    Raises:
        RunError: TVM cannot compile or run the model.
    """
    network = OnnxNetwork(path)
    images = _first(batches)
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "images.npy", Path(folder) / "outputs.npy"
        np.save(inputs, images.contiguous().numpy(), allow_pickle=False)
        command = [sys.executable, "-m", __name__, str(path), str(inputs), str(outputs)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise RunError(f"TVM did not compile and run {path.name} within {TIMEOUT_S:.0f} s") from error
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip() and "Warning:" not in line]
            raise RunError(f"TVM cannot run {path.name}: {lines[-1][:300] if lines else f'code {done.returncode}'}")
        found = np.load(outputs, allow_pickle=False)
    expected = np.concatenate([network(part).numpy() for part in images[: len(found)].split(256)])
    return parity_of([(expected, found)], predictions)


def _first(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    found: list[torch.Tensor] = []
    for x_NCHW, _ in batches:
        found.append(x_NCHW)
        if sum(x.nbytes for x in found) > MOST_BYTES:
            break
    return torch.cat(found)


def main() -> None:
    """Compile, run, write the outputs of as many images as there was time for."""
    import tvm
    from tvm import relax

    from profilers.worker_tvm import build, find_target

    os.environ.setdefault("TVM_NUM_THREADS", str(os.cpu_count() or 1))
    model, images, outputs = (Path(argument) for argument in sys.argv[1:])
    library = outputs.with_name("model.so")
    build(model, find_target("native"), library, cross_compiler=None, tuning=None)
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    x_NCHW = np.load(images, mmap_mode="r", allow_pickle=False)
    batch = OnnxNetwork(model).batch or 1
    found: list[np.ndarray] = []
    started = time.monotonic()
    for start in range(0, len(x_NCHW) - batch + 1, batch):
        if found and time.monotonic() - started > MOST_S:
            break
        result = machine["main"](tvm.runtime.tensor(x_NCHW[start : start + batch], tvm.cpu()))
        found.append((result if hasattr(result, "numpy") else result[0]).numpy())
    np.save(outputs, np.concatenate(found), allow_pickle=False)


if __name__ == "__main__":
    main()
