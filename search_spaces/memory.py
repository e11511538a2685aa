"""Memory of ONNX graphs: weights, and the largest sum of tensors that are alive at once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from safe_files import FileError, cached, is_as_made, read_json
from search_spaces.errors import SpaceError
from search_spaces.onnx_export import EXPORT_VERSION, export_block
from search_spaces.overview import extreme_architecture
from search_spaces.space import SearchSpace

IN_PLACE = frozenset(
    (
        *("Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "PRelu", "Mul", "Add"),
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
    )
)
"""Operations that runtimes let write over their first input where nothing else needs it."""

FORMAT_VERSION = 2

OUT_OF_QUESTION_BYTES = 1e15
"""The bytes given to a block that must not be taken: more than all others together."""


_Bytes = Annotated[int, Field(ge=0, le=2**53)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class GraphMemory:
    """Bytes that inference takes: weights, and activations at their peak, input and output included."""

    weight_bytes: _Bytes
    activation_bytes: _Bytes


_BLOCKS = TypeAdapter(dict[str, GraphMemory])
"""By the block's key."""


def graph_memory(model: ModelProto) -> GraphMemory:
    """Return the memory of a graph whose nodes run one after the other, in their order in the file.

    Raises:
        ValueError: the shape of a tensor is not known, or the graph branches or loops.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    if inner := [n.op_type for n in graph.node if any(a.HasField("g") or a.graphs for a in n.attribute)]:
        raise ValueError(f"what {inner[0]} runs is not known beforehand")
    weights = {t.name: _num_bytes(t.dims, t.data_type) for t in graph.initializer}
    for node in graph.node:
        # Equal weights, such as untrained biases, are stored once and passed on: trained, each has bytes of its own.
        if node.op_type == "Identity" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    constants = {n.output[0] for n in graph.node if n.op_type == "Constant"}
    sizes = {
        v.name: _num_bytes([d.dim_value for d in v.type.tensor_type.shape.dim], v.type.tensor_type.elem_type)
        for v in (*graph.input, *graph.value_info, *graph.output)
        if v.type.tensor_type.HasField("shape")
    }
    nodes = [n for n in graph.node if n.op_type != "Constant" and n.output[0] not in weights]
    # What nothing reads, such as the mask of Dropout, is not computed.
    read = {name for n in nodes for name in n.input if name} | {v.name for v in graph.output}
    is_activation = read - weights.keys() - constants
    if unknown := sorted(is_activation - sizes.keys()):
        raise ValueError(f"the shape of {unknown[0]!r} is not known; give the graph a fixed batch size")
    last_use = {name: i for i, node in enumerate(nodes) for name in node.input if name in is_activation}
    last_use |= {v.name: len(nodes) for v in graph.output}
    alive = {v.name for v in graph.input if v.name in is_activation}
    peak = sum(sizes[name] for name in alive)
    for i, node in enumerate(nodes):
        outputs = [name for name in node.output if name in is_activation]
        reused = sizes[node.input[0]] if _writes_over(node, i, last_use, sizes) else 0
        alive.update(outputs)
        peak = max(peak, sum(sizes[name] for name in alive) - reused)
        alive = {name for name in alive if last_use.get(name, -1) > i}
    return GraphMemory(weight_bytes=sum(weights.values()), activation_bytes=peak)


class MemoryModel:
    """Memory of architectures, vectorised: all weights, and the largest activations of any one block.

    Blocks run one after the other and pass one tensor on, so no more than one block's tensors are alive at once.

    Args:
        folder: where exported blocks and their memory are kept between runs.

    Raises:
        SpaceError: the space's blocks do not run one after the other.
        ExportError: a block cannot be exported.
    """

    def __init__(self, space: SearchSpace, folder: Path, *, batch: int = 1) -> None:
        if not space.is_chain:
            raise SpaceError(f"the memory of {space.spec.name} is not known: its blocks do not run one after the other")
        self._space = space
        memories = _block_memories(space, folder, batch)
        self._weights = np.array([memories[b.key].weight_bytes for b in space.candidates], dtype=np.float64)
        self._activations = np.array([memories[b.key].activation_bytes for b in space.candidates], dtype=np.float64)

    def peak_bytes(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return bytes of weights and of activations at their peak, [num_architectures]."""
        peaks = self._activations[self._space.block_indices(architectures)].max(axis=1)
        total: NDArray[np.float64] = self._space.block_sum(self._weights, architectures) + peaks
        return total

    def least_bytes(self) -> float:
        """Return what the network of the least memory takes.

        Its weights are the least of all networks whose activations are no larger than its own, and sums over blocks
        have an exact minimum: so activations are allowed less and less, until no network has so few.
        """
        least, below = np.inf, np.inf
        while True:
            weights = np.where(self._activations < below, self._weights, OUT_OF_QUESTION_BYTES)
            row = np.array([extreme_architecture(self._space, partial(self._space.block_sum, weights), largest=False)])
            peak = float(self._activations[self._space.block_indices(row)].max())
            if peak >= below:
                return float(least)
            least, below = min(least, float(self.peak_bytes(row)[0])), peak


def _block_memories(space: SearchSpace, folder: Path, batch: int) -> Mapping[str, GraphMemory]:
    """Return the memory of every block by key; read it from the folder where it was found before."""
    cache = folder / f"memory-{batch}.json"
    made_of = f"memory;{FORMAT_VERSION};{EXPORT_VERSION}"
    known = _known_memories(cache, made_of)
    found: dict[str, GraphMemory] = {}
    for block in space.candidates:
        if block.is_identity:
            found[block.key] = GraphMemory(weight_bytes=0, activation_bytes=0)
        elif block.key not in found:
            found[block.key] = known.get(block.key) or graph_memory(onnx.load(export_block(block, folder, batch=batch)))
    if not found.keys() <= known.keys():
        text = json.dumps({key: asdict(memory) for key, memory in {**known, **found}.items()})
        cached(cache, made_of, lambda draft: _write(draft, text), is_fresh=True)
    return found


def _known_memories(cache: Path, made_of: str) -> Mapping[str, GraphMemory]:
    """Return what was found before; nothing where the file is not as it was written, or of other versions."""
    if not is_as_made(cache, made_of):
        return {}
    try:
        return _BLOCKS.validate_json(json.dumps(read_json(cache)), strict=True)
    except (FileError, ValidationError):
        return {}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _writes_over(node: NodeProto, position: int, last_use: Mapping[str, int], sizes: Mapping[str, int]) -> bool:
    first = node.input[0] if node.input else ""
    return (
        node.op_type in IN_PLACE
        and first in sizes
        and last_use.get(first) == position
        and sizes[first] == sizes.get(node.output[0])
    )


def _num_bytes(shape: Iterable[int], data_type: int) -> int:
    return math.prod(shape) * int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)
