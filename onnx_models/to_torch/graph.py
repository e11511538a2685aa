"""ONNX files as graphs of one input and one output that compute in floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, inliner, numpy_helper

from onnx_models.errors import ModelError
from safe_files import open_regular

QUANTIZED = ("QLinear", "Quantize", "Dequantize", "DynamicQuantize", "ConvInteger", "MatMulInteger")
"""Beginnings of the operators of quantised models."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """Holds what a file says, its functions unfolded.

    Attributes:
        name: of the file, for messages.
        nodes: in the order in which they can be computed.
        constants: tensors by name.
        input_name: of the images.
        input_shape: C, H, W or whatever the axes behind the batch are.
        batch: the file's fixed batch; None where it takes any.
        output_name: of the result.
        opset: the version of the operators.
    """

    name: str
    nodes: tuple[NodeProto, ...]
    constants: dict[str, torch.Tensor]
    input_name: str
    input_shape: tuple[int, ...]
    batch: int | None
    output_name: str
    opset: int


def read_graph(path: Path, *, input_shape: tuple[int | None, ...] | None = None) -> Graph:
    """Return the graph of a file.

    Args:
        input_shape: sizes behind the batch, for what the file leaves free; None for those that it has to say.

    Raises:
        ModelError: it is no ONNX model, is quantised, has not one input of floats and one output, or a size is missing.
        FileError: it cannot be opened.
    """
    model = _parsed(path)
    _require_floats(path, model)
    constants = {tensor.name: _tensor(path, tensor) for tensor in model.graph.initializer}
    image = _only(path, "input", [value for value in model.graph.input if value.name not in constants])
    result = _only(path, "output", list(model.graph.output))
    if (kind := image.type.tensor_type.elem_type) != TensorProto.FLOAT:
        raise ModelError(
            f"{path} takes {_type_name(kind)} as {image.name!r}, expected float32: bring the model that takes "
            "normalised images in float32"
        )
    sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in image.type.tensor_type.shape.dim]
    if len(sizes) < 2:
        raise ModelError(f"{path}: {image.name!r} has {len(sizes)} axes, expected a batch and the axes of an image")
    return Graph(
        name=str(path),
        nodes=tuple(model.graph.node),
        constants=constants,
        input_name=image.name,
        input_shape=_input_shape(path, sizes[1:], input_shape),
        batch=sizes[0],
        output_name=result.name,
        opset=max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1),
    )


def tensor_of(name: str, proto: TensorProto) -> torch.Tensor:
    """Return a tensor of a file; half precision is refused, as are types that torch has not.

    Raises:
        ModelError: of such a type, or its bytes are not those of its shape.
    """
    if proto.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        raise ModelError(f"{name}: weights in {_type_name(proto.data_type)}, expected float32: bring the float32 model")
    try:
        return torch.from_numpy(np.array(numpy_helper.to_array(proto)))
    except (ValueError, TypeError, OSError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{name}: the tensor {proto.name!r} cannot be read: {error}") from error


def _tensor(path: Path, proto: TensorProto) -> torch.Tensor:
    return tensor_of(str(path), proto)


def _parsed(path: Path) -> ModelProto:
    open_regular(path).close()  # the message of a file that is not there
    try:
        model = onnx.load(path)
        for value in model.graph.output:
            value.type.tensor_type.shape.SetInParent()  # runtimes do without, the checker does not
        onnx.checker.check_model(model)
        return inliner.inline_local_functions(model) if model.functions else model
    except (DecodeError, onnx.checker.ValidationError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"{path} is no valid ONNX model: {reason}; export it again") from error


def _require_floats(path: Path, model: ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type.startswith(QUANTIZED):
            raise ModelError(
                f"{path} is quantised: found the operator {node.op_type} in node {node.name or node.output[0]!r}; "
                "bring the float32 model that it was made from"
            )


def _only(path: Path, what: str, values: Sequence[ValueInfoProto]) -> ValueInfoProto:
    if len(values) != 1:
        names = ", ".join(value.name for value in values) or "none"
        raise ModelError(
            f"{path} has {len(values)} {what}s ({names}), expected one: export the classifier alone, from one tensor "
            "of images to one tensor of scores"
        )
    return values[0]


def _input_shape(path: Path, sizes: Sequence[int | None], given: tuple[int | None, ...] | None) -> tuple[int, ...]:
    said = "x".join("?" if size is None else str(size) for size in sizes)
    wanted = given or (None,) * len(sizes)
    if len(wanted) != len(sizes) or any(
        None not in both and len({*both}) > 1 for both in zip(sizes, wanted, strict=True)
    ):
        raise ModelError(
            f"{path} takes images of {said}, expected {'x'.join('?' if s is None else str(s) for s in wanted)}: export "
            "it with that size or a free one, or use its own"
        )
    found = [own or asked for own, asked in zip(sizes, wanted, strict=True)]
    if None in found:
        raise ModelError(
            f"{path} does not fix the size of its images: it takes {said}; say it with --input-size, and --channels of "
            "hwnas convert"
        )
    return tuple(size for size in found if size is not None)


def _type_name(kind: int) -> str:
    return TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else f"type {kind}"
