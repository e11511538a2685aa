"""Half precision of a trained network."""

from __future__ import annotations

from pathlib import Path

import onnx

from onnx_models.errors import ExportError


def write_half_precision(path: Path, target: Path) -> None:
    """Write the float model with half-precision weights and activations; inputs and outputs stay as they are.

    Raises:
        ExportError: the model cannot be converted.
    """
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        converted = ONNXModel(convert_float_to_float16(onnx.load(path), keep_io_types=True))
        converted.topological_sort()  # the conversion appends its casts at the end
        model = converted.model
        onnx.checker.check_model(model, full_check=True)
    except (ValueError, TypeError, onnx.checker.ValidationError) as error:
        raise ExportError(f"cannot convert {path.name} to half precision: {error}") from error
    onnx.save(model, target)
