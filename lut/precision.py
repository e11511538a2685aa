"""The same ONNX models in other precisions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError

from safe_files import FileError, cached, drafting, explaining, sha256_of
from search_spaces import Architecture, ExportError, SearchSpace
from search_spaces.onnx_export import export_network

Precision = Literal["fp32", "int8"]

BYTES: dict[Precision, int] = {"fp32": 4, "int8": 1}
"""The bytes of a weight or an activation, by precision."""

NUM_CALIBRATION_BATCHES = 4
"""Random inputs that ranges are taken from: latencies depend on types and shapes, not on the ranges."""

VERSION = f"2;onnxruntime={onnxruntime.__version__}"


def in_precision(path: Path, precision: Precision, *, is_part: bool, is_fresh: bool = False) -> Path:
    """Return the model's file in a precision, made beside the float file unless it is there as it was made.

    int8 is static quantization in QDQ form, per-channel weights, by onnxruntime. A part of a network (`is_part`) takes
    and gives quantized tensors, as it does between its neighbours; a whole network takes and gives floats.

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


def network_in_precision(
    space: SearchSpace, architecture: Architecture, folder: Path, precision: Precision, *, batch: int, opset: int | None
) -> Path:
    """Return the file of a whole network in a precision, exported into `folder` unless it is there as it was made.

    Raises:
        ExportError: it cannot be expressed in ONNX, or not be quantized.
        WriteError: the folder cannot be written to.
    """
    exported = export_network(space, architecture, folder, batch=batch, opset=opset)
    return in_precision(exported, precision, is_part=False)


class _RandomInputs:
    """Standard normal inputs: what BatchNorm lets through on average."""

    def __init__(self, model: onnx.ModelProto) -> None:
        (tensor,) = model.graph.input
        shape = [d.dim_value for d in tensor.type.tensor_type.shape.dim]
        rng = np.random.default_rng(0)
        self._batches: Iterator[dict[str, np.ndarray]] = iter(
            [{tensor.name: rng.standard_normal(shape).astype(np.float32)} for _ in range(NUM_CALIBRATION_BATCHES)]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next input by name, None after the last."""
        return next(self._batches, None)


def _quantize(path: Path, target: Path, *, is_part: bool) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    CalibrationDataReader.register(_RandomInputs)
    with explaining(target), drafting(target) as folder:
        folder.mkdir()
        prepared, draft = folder / "prepared.onnx", folder / "draft.onnx"
        try:
            quant_pre_process(path, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                draft,
                _RandomInputs(onnx.load(prepared)),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            model = without_unused_domains(onnx.load(draft))
            onnx.save(_with_quantized_ends(model) if is_part else model, draft)
            onnx.checker.check_model(str(draft))
        except (ValueError, RuntimeError, TypeError, KeyError, DecodeError, onnx.checker.ValidationError) as error:
            raise ExportError(f"cannot quantize {path.name}: {error}") from error
        draft.replace(target)


def without_unused_domains(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without the operator sets that the quantizer names though no node is of them.

    Older runtimes refuse models that name newer sets than they know.
    """
    used = {node.domain for node in model.graph.node} | {""}
    kept = [imported for imported in model.opset_import if imported.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _with_quantized_ends(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without the quantization of its input and the dequantization of its output."""
    graph = model.graph
    (graph_input,), (graph_output,) = graph.input, graph.output
    first = next((n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == graph_input.name), None)
    last = next((n for n in graph.node if n.op_type == "DequantizeLinear" and n.output[0] == graph_output.name), None)
    if first is not None and all(n is first or graph_input.name not in n.input for n in graph.node):
        graph_input.name = first.output[0]
        graph_input.type.tensor_type.elem_type = onnx.TensorProto.UINT8
        graph.node.remove(first)
    if last is not None:
        graph_output.name = last.input[0]
        graph_output.type.tensor_type.elem_type = onnx.TensorProto.UINT8
        graph.node.remove(last)
    return model
