"""Models as people have them, with every dimension fixed: latencies are of one shape."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from onnx_models.errors import ModelError
from onnx_models.external_data import external_files
from safe_files import FileError, open_regular

Shape = tuple[int | str | None, ...]
"""Sizes of a tensor; the name, or None, of what the model leaves free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Sizes that free dimensions of images are given besides a batch of 1; None for what nobody said.

    Attributes:
        side: pixels a side, or the length of whatever else goes in; of images that are not square, the height.
        width: of images that are not square.
        channels: colour planes.
    """

    side: int | None
    width: int | None = None
    channels: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundModel:
    """A model whose dimensions are all fixed.

    Attributes:
        path: as it was given.
        fixed: the file to measure; the same where nothing was free.
        inputs: element types and sizes in words.
        outputs: their names.
        sizes: what free dimensions were given, by their names.
    """

    path: Path
    fixed: Path
    inputs: str
    outputs: tuple[str, ...]
    sizes: Mapping[str, int]


def bind(path: Path, scratch: Path, sizes: Sizes, *, types: Collection[str]) -> BoundModel:
    """Fix what a model leaves free: batches are 1, images as large as they are said to be.

    Args:
        scratch: a folder of its own for a copy with fixed dimensions.
        types: element types of inputs that values can be made up for, by ONNX Runtime's names.

    Raises:
        ModelError: the file is no model that can be opened, takes what cannot be made up, or nobody said how large a
            free dimension is.
    """
    session = _opened(path)
    nodes = session.get_inputs()
    _require_inputs(path, nodes, types, of_unknown_rank=_of_unknown_rank(path))
    given: dict[str, int] = {}
    batches = {node.shape[0] for node in nodes if node.shape}
    shapes = {n.name: _fixed_shape(path, n.name, tuple(n.shape), batches, sizes, given) for n in nodes}
    return BoundModel(
        path=path,
        fixed=_with_shapes(path, scratch, shapes) if given else path,
        inputs=", ".join(_in_words(node, shapes[node.name], is_alone=len(nodes) == 1) for node in nodes),
        outputs=tuple(node.name for node in session.get_outputs()),
        sizes=given,
    )


_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:\s*)?")
"""What ONNX Runtime's messages begin with: who says so, a number, and the file once more."""


def _opened(path: Path) -> Any:
    import onnxruntime

    if not path.exists():
        raise ModelError(f"no file {path}")
    try:
        open_regular(path).close()  # pipes would be waited for, devices read without end
    except FileError as error:
        raise ModelError(str(error)) from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        # Without its fallback, which would try the same once more and print why.
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        for node in (*session.get_inputs(), *session.get_outputs()):
            str((node.name, node.type, node.shape))  # names that are no text end here
    except Exception as error:  # onnxruntime raises a class of its own for every kind of damage
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path} is no ONNX model that can be opened: {_CODE.sub('', why)}") from error
    return session


def _of_unknown_rank(path: Path) -> set[str]:
    """Return the inputs whose number of axes the file does not tell; the runtime takes them for scalars."""
    try:
        values = onnx.load(path, load_external_data=False).graph.input
    except DecodeError:
        return set()  # of a runtime's own format
    return {value.name for value in values if not value.type.tensor_type.HasField("shape")}


def _require_inputs(path: Path, nodes: Sequence[Any], types: Collection[str], *, of_unknown_rank: set[str]) -> None:
    for node in nodes:
        if node.type not in types:
            known = ", ".join(_plain(name) for name in types)
            raise ModelError(f"{path} takes {_plain(node.type)} as {node.name!r}, expected one of {known}")
        if node.name in of_unknown_rank:
            raise ModelError(f"{path} does not say how many axes {node.name!r} has; export it with a fixed shape")
        if 0 in node.shape:
            words = _times(node.shape)
            raise ModelError(f"{path} takes nothing: {node.name!r} has the shape {words}; export it with a batch of 1")


def _fixed_shape(
    path: Path, name: str, shape: Shape, batches: set[int | str | None], sizes: Sizes, given: dict[str, int]
) -> tuple[int, ...]:
    """Return the shape with sizes for what is free, which are noted in `given`."""
    fixed = []
    for axis, size in enumerate(shape):
        if isinstance(size, int):
            fixed.append(size)
            continue
        if axis == 0 or (size is not None and size in batches):
            chosen: int | None = 1
        elif axis == 1 and len(shape) == 4 and shape[3] not in (1, 3, 4):
            chosen = sizes.channels or 3
        else:
            is_width = len(shape) == 4 and axis == (2 if shape[3] in (1, 3, 4) else 3)
            chosen = (sizes.width if is_width else None) or sizes.side
        if chosen is None:
            raise ModelError(
                f"{path} does not fix how large {name!r} is, which latencies need: it takes {_times(shape)}; "
                "give --input-size"
            )
        given[size or f"{name}[{axis}]"] = chosen
        fixed.append(chosen)
    return tuple(fixed)


def _with_shapes(path: Path, scratch: Path, shapes: Mapping[str, Sequence[int]]) -> Path:
    """Return a copy of the model that takes those shapes, with the weights that lie in other files."""
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ModelError(f"{path} does not fix its input's shape, and is no ONNX file in which it could be") from error
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            dim.dim_value = size
    fixed = scratch / path.name
    onnx.save(model, fixed)
    for file in external_files(path):
        _linked(file, scratch / file.relative_to(path.parent))
    return fixed


def _linked(file: Path, target: Path) -> None:
    """Link a file to another place, or copy it where it cannot be linked; runtimes refuse symbolic links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _in_words(node: Any, shape: Sequence[int], *, is_alone: bool) -> str:
    words = f"{_plain(node.type)} {_times(shape) or 'scalar'}"
    return words if is_alone else f"{node.name}: {words}"


def _plain(element_type: str) -> str:
    return element_type.removeprefix("tensor(").removesuffix(")")


def _times(shape: Sequence[int | str | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)
