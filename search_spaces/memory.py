"""Memory that the networks of a space take while they run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from onnx_models.export import EXPORT_VERSION
from onnx_models.memory import GraphMemory, graph_memory
from safe_files import FileError, cached, is_as_made, read_json
from search_spaces.errors import SpaceError
from search_spaces.onnx_export import export_block
from search_spaces.overview import extreme_architecture
from search_spaces.space import SearchSpace

FORMAT_VERSION = 2

OUT_OF_QUESTION_BYTES = 1e15
"""The bytes given to a block that must not be taken: more than all others together."""


_BLOCKS = TypeAdapter(dict[str, GraphMemory])
"""By the block's key."""


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
