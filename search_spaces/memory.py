"""Memory that the networks of a space take while they run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from onnx_models.export import EXPORT_VERSION, input_names
from onnx_models.memory import GraphMemory, graph_memory
from safe_files import FileError, cached, is_as_made, read_json
from search_spaces.block import Block
from search_spaces.errors import SpaceError
from search_spaces.onnx_export import export_block
from search_spaces.overview import extreme_architecture, variants
from search_spaces.space import SearchSpace
from search_spaces.wiring import Wiring

FORMAT_VERSION = 2

MADE_OF = f"memory;{FORMAT_VERSION};{EXPORT_VERSION}"
"""What figures that were kept have to be of."""

FLOAT_BYTES = 4

OUT_OF_QUESTION_BYTES = 1e15
"""The bytes given to a block that must not be taken: more than all others together."""


_BLOCKS = TypeAdapter(dict[str, GraphMemory])
"""By the block's key."""


class MemoryModel:
    """Memory of architectures, vectorised: all weights, and the most activations while any one block runs.

    Blocks run one after the other, so that no more than one block's tensors are alive at once, and what is handed on to
    later blocks.

    Args:
        folder: where exported blocks and their memory are kept between runs.

    Raises:
        SpaceError: the space's blocks are connected in other ways in each network.
        ExportError: a block cannot be exported.
    """

    def __init__(self, space: SearchSpace, folder: Path, *, batch: int = 1) -> None:
        if not space.is_chain and space.wiring is None:
            raise SpaceError(f"the memory of {space.spec.name} is not known: its blocks do not run one after the other")
        self._space = space
        memories = _Memories(folder, batch)
        self._weights = np.array([memories.of(b).weight_bytes for b in space.candidates], dtype=np.float64)
        if space.wiring is None:
            alone = np.array([memories.of(b).activation_bytes for b in space.candidates], dtype=np.float64)
            num_slots = space.block_indices(np.zeros((1, len(space.decisions)), dtype=np.int64)).shape[1]
            self._activations = np.broadcast_to(alone, (num_slots, len(alone)))
        else:
            self._activations = _wired_activations(space, space.wiring, memories, batch)
        memories.keep()

    def peak_bytes(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return bytes of weights and of activations at their peak, [num_architectures]."""
        peaks: NDArray[np.float64] = self._while_running(architectures).max(axis=1)
        return self._space.block_sum(self._weights, architectures) + peaks

    def least_bytes(self) -> float:
        """Return what the network of the least memory takes.

        Its weights are the least of all networks whose activations are no larger than its own, and sums over blocks
        have an exact minimum: so activations are allowed less and less, until no network has so few.
        """
        least, below = np.inf, np.inf
        while True:
            row = np.array([extreme_architecture(self._space, partial(self._weights_below, below), largest=False)])
            peak = float(self._while_running(row).max())
            if peak >= below:
                return float(least)
            least, below = min(least, float(self.peak_bytes(row)[0])), peak

    def _while_running(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the bytes of activations while each block runs, [num_architectures, num_slots]."""
        indices = self._space.block_indices(architectures)
        found: NDArray[np.float64] = self._activations[np.arange(indices.shape[1]), indices]
        return found

    def _weights_below(self, limit: float, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return bytes of weights; out of the question for each block that runs with no fewer activations."""
        num_over: NDArray[np.int64] = (self._while_running(architectures) >= limit).sum(axis=1)
        return self._space.block_sum(self._weights, architectures) + OUT_OF_QUESTION_BYTES * num_over


def _wired_activations(space: SearchSpace, wiring: Wiring, memories: _Memories, batch: int) -> NDArray[np.float64]:
    """Return the bytes of activations while each candidate runs in each slot, [num_slots, num_candidates].

    The block's own and what is held for later blocks, which is of one size wherever the candidate stands in the slot.
    """
    outputs = np.array([FLOAT_BYTES * batch * math.prod(b.output_shape) for b in space.candidates])
    found = np.zeros((len(wiring.sources), len(space.candidates)))
    for rows in variants(space):
        indices = space.block_indices(rows)
        for slot, own in enumerate(indices.T):
            held = sum((outputs[indices[:, other]] for other in wiring.held(slot)), np.zeros(len(own)))
            found[slot, own] = held
            for i in np.unique(own):
                found[slot, i] += memories.of(space.candidates[i], wiring.needed_later(slot)).activation_bytes
    return found


class _Memories:
    """The memory of blocks; read from a folder where it was found before.

    Args:
        folder: where exported blocks and their memory are kept.
    """

    def __init__(self, folder: Path, batch: int) -> None:
        self._folder, self._batch = folder, batch
        self._cache = folder / f"memory-{batch}.json"
        self._known = dict(_known_memories(self._cache, MADE_OF))
        self._is_new = False

    def of(self, block: Block, is_needed_later: Sequence[bool] = ()) -> GraphMemory:
        """Return the memory of a block.

        Args:
            is_needed_later: of each input, whether later blocks take it too.
        """
        if block.is_identity:
            return GraphMemory(weight_bytes=0, activation_bytes=0)
        names = [input_names(len(block.input_shapes))[i] for i, is_needed in enumerate(is_needed_later) if is_needed]
        key = " keeping ".join([block.key, *names])
        if key not in self._known:
            model = onnx.load(export_block(block, self._folder, batch=self._batch))
            self._known[key], self._is_new = graph_memory(model, names), True
        return self._known[key]

    def keep(self) -> None:
        """Write what was found."""
        if self._is_new:
            text = json.dumps({key: asdict(memory) for key, memory in self._known.items()})
            cached(self._cache, MADE_OF, lambda draft: _write(draft, text), is_fresh=True)


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
