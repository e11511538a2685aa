"""Static quantization to int8 in QDQ form: per-channel int8 weights, uint8 activations, by ONNX Runtime."""

from __future__ import annotations

import contextlib
import errno
import inspect
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from onnx_models.ending import OPERATORS
from onnx_models.errors import ExportError
from safe_files.refusals import free_bytes

Feed = Mapping[str, NDArray[np.float32]]
"""A batch of every input of a model, by name."""


NO_ROOM_BYTES = 16 * 4096
"""Sixteen pages: where less is free after a failure, the disk is what failed."""


@contextlib.contextmanager
def quantizing(what: str, folder: Path) -> Iterator[None]:
    """Raise ExportError where a model cannot be quantized, for each of the quantizer's many errors.

    Args:
        folder: where it writes files.

    Raises:
        ExportError: the model cannot be quantized.
        OSError: the disk is full. A part of the quantizer cuts files short there without a word.
    """
    try:
        yield
    except (ValueError, RuntimeError, TypeError, KeyError, DecodeError, onnx.checker.ValidationError) as error:
        if (free := free_bytes(folder)) is not None and free < NO_ROOM_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise ExportError(f"cannot quantize {what}: {error}") from error


def prepare(path: Path, prepared: Path) -> None:
    """Write the model as the quantizer wants it: shapes inferred, BatchNorm and constants folded."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(path, prepared, skip_symbolic_shape=True)


def quantize(
    prepared: Path,
    target: Path,
    batches: Sequence[Feed],
    *,
    method: str = "MinMax",
    excluded: Sequence[str] = (),
    only: str | None = None,
    ranges: Path | None = None,
) -> None:
    """Write a prepared model with its layers in int8; a softmax or sigmoid at its end stays in float.

    Args:
        batches: what the ranges of activations are taken from.
        method: of calibration, by the names of ONNX Runtime's `CalibrationMethod`.
        excluded: names of nodes that stay in float.
        only: the name of the one node to quantize; None for all.
        ranges: a file that keeps the ranges of activations, so that they are taken once for several models of the same
            network. Versions of ONNX Runtime that cannot keep them take them each time.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    CalibrationDataReader.register(_Reader)
    can_keep = "calibration_cache_path" in inspect.signature(quantize_static).parameters
    kept = {"calibration_cache_path": ranges} if ranges is not None and can_keep else {}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        quantize_static(
            prepared,
            target,
            _Reader(batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, method),
            nodes_to_exclude=[*excluded, *_ending(prepared)],
            nodes_to_quantize=[only] if only else None,
            **kept,
        )
    onnx.save(_without_unused_domains(onnx.load(target)), target)


def with_quantized_ends(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without the quantization of its inputs and the dequantization of its output."""
    graph = model.graph
    (graph_output,) = graph.output
    last = next((n for n in graph.node if n.op_type == "DequantizeLinear" and n.output[0] == graph_output.name), None)
    for graph_input in graph.input:
        readers = [n for n in graph.node if graph_input.name in n.input]
        if [n.op_type for n in readers] == ["QuantizeLinear"]:
            graph_input.name = readers[0].output[0]
            graph_input.type.tensor_type.elem_type = onnx.TensorProto.UINT8
            graph.node.remove(readers[0])
    if last is not None:
        graph_output.name = last.input[0]
        graph_output.type.tensor_type.elem_type = onnx.TensorProto.UINT8
        graph.node.remove(last)
    return model


def _ending(path: Path) -> list[str]:
    """Return the name of a softmax or sigmoid that gives what a model gives: in 8 bits many classes would be equal."""
    graph = onnx.load(path).graph
    given = {output.name for output in graph.output}
    return [node.name for node in graph.node if node.op_type in OPERATORS and given & set(node.output)]


class _Reader:
    """Inputs one batch after the other, as the quantizer's calibration asks for them."""

    def __init__(self, batches: Sequence[Feed]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> Feed | None:
        """Return the next inputs, None after the last."""
        return next(self._batches, None)


def _without_unused_domains(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without the operator sets that the quantizer names though no node is of them.

    Older runtimes refuse models that name newer sets than they know.
    """
    used = {node.domain for node in model.graph.node} | {""}
    kept = [imported for imported in model.opset_import if imported.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model
