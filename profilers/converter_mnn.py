"""Writes an ONNX model in MNN's own format: `model.mnn`, and `ends.json` with names, shapes and types of its ends.

    python converter_mnn.py MODEL FOLDER ARITHMETIC

Weights stay as they are: what a model is computed in is set where it is run.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

# Not `MNN.tools.mnnconvert`: importing that installs packages with pip, and calling it reports what was converted.
import _tools
import onnx
import onnxruntime

STAMP = re.compile(r"^\[[\d:]+\] :\d+: ")
COMPLAINT = re.compile(r"not support|error|invalid|fail|unsupport", re.IGNORECASE)
UNTOLD = {"Converted Failed!"}


def main() -> None:
    """Convert what the command line names."""
    model, folder, _ = sys.argv[1:]
    graph = onnx.load(model, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    ends = {
        "inputs": [described(value) for value in graph.input if value.name not in weights],
        "outputs": [described(value) for value in graph.output],
    }
    if free := [end for end in ends["inputs"] if not all(end["shape"])]:
        sys.exit(f"input {free[0]['name']!r} has the shape {free[0]['shape']}; every dimension must be fixed")
    with tempfile.TemporaryDirectory() as scratch:
        folded = Path(scratch) / "folded.onnx"
        fold(model, folded)
        said = convert(folded, Path(folder) / "model.mnn")
    if not Path(folder, "model.mnn").exists():
        complaints = [line for line in said if COMPLAINT.search(line) and line not in UNTOLD]
        sys.exit((complaints or said or ["it wrote nothing, without a word"])[-1])
    Path(folder, "ends.json").write_text(json.dumps(ends), encoding="utf-8")


def fold(model: str, target: Path) -> None:
    """Write a model with constants and shapes folded: MNN stumbles over shapes that are computed in the model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def convert(model: Path, target: Path) -> list[str]:
    """Run MNN's converter, and return the lines that it printed."""
    command = ["mnnconvert", "-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(target), "--bizCode", "hwnas"]
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            # Its approximation of GELU is off by more than the tolerance between runtimes.
            _tools.mnnconvert([*command, "--useGeluApproximation", "0"])
        finally:
            ctypes.CDLL(None).fflush(None)
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return [STAMP.sub("", line).strip() for line in file.read().decode(errors="replace").splitlines() if line]


def described(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """Return what a worker has to know of an input or output; sizes that are free are 0."""
    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "shape": [dim.dim_value for dim in tensor.shape.dim],
        "dtype": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
    }


if __name__ == "__main__":
    main()
