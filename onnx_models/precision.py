"""The same ONNX models in other precisions, for measuring: weights and inputs are random."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime

from onnx_models.errors import ExportError
from onnx_models.int8 import Feed, prepare, quantize, quantizing, with_quantized_ends
from safe_files import FileError, cached, drafting, explaining, sha256_of

Precision = Literal["fp32", "int8"]

BYTES: dict[Precision, int] = {"fp32": 4, "int8": 1}
"""The bytes of a weight or an activation, by precision."""

NUM_CALIBRATION_BATCHES = 4
"""Random inputs that ranges are taken from: latencies depend on types and shapes, not on the ranges."""

VERSION = f"2;onnxruntime={onnxruntime.__version__}"


def in_precision(path: Path, precision: Precision, *, is_part: bool, is_fresh: bool = False) -> Path:
    """Return the model's file in a precision, made beside the float file unless it is there as it was made.

    int8 is static quantization. A part of a network (`is_part`) takes and gives quantized tensors, as it does between
    its neighbours; a whole network takes and gives floats.

    Args:
        is_fresh: quantize in any case.

    Raises:
        ExportError: the model cannot be quantized.
        WriteError: the folder cannot be written to.
    """
    if precision == "fp32":
        return path
    digest = hashlib.sha256(f"{path.name};{is_part};{VERSION}".encode()).hexdigest()
    quantized = path.with_name(f"{path.stem}-int8-{digest[:8]}.onnx")
    try:
        made_of = f"{sha256_of(path)};{is_part};{VERSION}"
    except FileError as error:
        raise ExportError(f"cannot quantize {path.name}: {error}") from error
    return cached(quantized, made_of, lambda draft: _quantize(path, draft, is_part=is_part), is_fresh=is_fresh)


def _quantize(path: Path, target: Path, *, is_part: bool) -> None:
    with explaining(target), drafting(target) as folder:
        folder.mkdir()
        prepared, draft = folder / "prepared.onnx", folder / "draft.onnx"
        with quantizing(path.name, folder):
            prepare(path, prepared)
            quantize(prepared, draft, _random_inputs(prepared))
            if is_part:
                onnx.save(with_quantized_ends(onnx.load(draft)), draft)
            onnx.checker.check_model(str(draft))
        draft.replace(target)


def _random_inputs(path: Path) -> list[Feed]:
    """Return standard normal inputs of a model: what BatchNorm lets through on average."""
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in onnx.load(path).graph.input}
    rng = np.random.default_rng(0)
    return [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(NUM_CALIBRATION_BATCHES)
    ]
