"""Writes an ONNX model in ncnn's own format: `model.param`, its weights `model.bin`, and `ends.json`.

    python converter_ncnn.py MODEL FOLDER ARITHMETIC

`ends.json` tells names, shapes and types of inputs and outputs as the ONNX model has them, and which of their axes is
the batch: ncnn keeps it apart from the others, and pnnx finds out which it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx

END = re.compile(r"(?:ncnn\.Mat\(|from_numpy\()(in|out)(\d+)\.numpy\((?:\), )?batch_index=(\d+)\)")
"""How the example that pnnx writes makes an input and reads an output."""

NO_BATCH = 233
"""What pnnx says where no axis is the batch."""

BY_ELEMENT = {
    "Input",
    "Split",
    "BinaryOp",
    "ReLU",
    "Clip",
    "GELU",
    "Swish",
    "HardSwish",
    "Sigmoid",
    "HardSigmoid",
    "TanH",
}
"""ncnn's layers that work on elements, of those that activations and additions are made of."""


def main() -> None:
    """Convert what the command line names."""
    model, folder, arithmetic = sys.argv[1:]
    whole = onnx.load(model)  # with weights that lie beside it
    weights = {weight.name for weight in whole.graph.initializer}
    inputs = [value for value in whole.graph.input if value.name not in weights]
    ends = {
        "inputs": [described(value, f"in{i}") for i, value in enumerate(inputs)],
        "outputs": [described(value, f"out{i}") for i, value in enumerate(whole.graph.output)],
    }
    if free := [end for end in ends["inputs"] if not all(end["shape"])]:
        sys.exit(f"input {free[0]['name']!r} has the shape {free[0]['shape']}; every dimension must be fixed")
    batch_axes = convert(whole, Path(folder), arithmetic)
    every = [*ends["inputs"], *ends["outputs"]]
    if is_by_element(Path(folder)) and all(e["shape"] == every[0]["shape"] and e["shape"][:1] == [1] for e in every):
        batch_axes = {end["blob"]: 0 for end in every}  # pnnx cannot tell; in networks, it is the first
    for end in every:
        end["batch_axis"] = batch_axes.get(end["blob"])
    Path(folder, "ends.json").write_text(json.dumps(ends), encoding="utf-8")


def convert(model: onnx.ModelProto, folder: Path, arithmetic: str) -> dict[str, int | None]:
    """Write what pnnx makes of a model, and return which axis of its inputs and outputs is the batch."""
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(model, Path(scratch) / "model.onnx")
        run_pnnx(Path(scratch), arithmetic)
        for suffix in (".param", ".bin"):
            (folder / f"model{suffix}").write_bytes((Path(scratch) / f"model.ncnn{suffix}").read_bytes())
        example = (Path(scratch) / "model_ncnn.py").read_text(encoding="utf-8")
    found = ((kind + number, int(axis)) for kind, number, axis in END.findall(example))
    return {blob: None if axis == NO_BATCH else axis for blob, axis in found}


def is_by_element(folder: Path) -> bool:
    """Return whether the model in a folder computes each element from those at its place, whatever the axes are."""
    lines = (folder / "model.param").read_text(encoding="utf-8").splitlines()[2:]
    return {line.split()[0] for line in lines} <= BY_ELEMENT


def run_pnnx(scratch: Path, arithmetic: str) -> None:
    """Convert `model.onnx` in a folder; weights are halved only where half precision was asked for."""
    # The package itself imports torch, which takes seconds; its program needs nothing.
    spec = find_spec("pnnx")
    assert spec is not None and spec.submodule_search_locations
    program = Path(spec.submodule_search_locations[0]) / ("pnnx.exe" if sys.platform == "win32" else "pnnx")
    command = [str(program), "model.onnx", f"fp16={int(arithmetic == 'fp16')}"]
    done = subprocess.run(
        command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    if done.returncode or not (scratch / "model.ncnn.param").exists():
        said = [line for line in done.stdout.splitlines() if line.strip()]
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        sys.exit(f"pnnx ended with {ended}: {said[-1] if said else 'without a word'}")


def described(value: onnx.ValueInfoProto, blob: str) -> dict[str, Any]:
    """Return what a worker has to know of an input or output; sizes that are free are 0."""
    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "blob": blob,
        "shape": [dim.dim_value for dim in tensor.shape.dim],
        "dtype": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
    }


if __name__ == "__main__":
    main()
