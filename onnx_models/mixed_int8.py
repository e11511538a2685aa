"""A network of which some blocks are in int8 and the others in float."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch

from onnx_models.chain import ChainBlock, chain_blocks
from onnx_models.int8 import prepare, quantize, quantizing

Precisions = tuple[bool, ...]
"""For each block in order, whether it is in int8."""


def written(precisions: Precisions) -> str:
    """Return a letter for each block: `i` in int8, `f` in float."""
    return "".join("i" if is_int8 else "f" for is_int8 in precisions)


class MixedNetwork:
    """Writes a float model with any of its blocks in int8; ranges of activations are taken once, for all of them.

    Args:
        path: the float model, of a fixed batch.
        folder: for what is written.
        images: x_NCHW, as the network sees them, in the model's batch size; ranges are taken from them.
        method: of calibration, by the names of ONNX Runtime's `CalibrationMethod`.
        most: blocks at most.

    Attributes:
        blocks: in the order they run.

    Raises:
        ExportError: the model cannot be cut into blocks.
    """

    def __init__(self, path: Path, folder: Path, images: Sequence[torch.Tensor], *, method: str, most: int) -> None:
        self._path, self._folder, self._images, self._method = path, folder, images, method
        self._prepared = folder / "prepared.onnx"
        with quantizing(path.name, folder):
            prepare(path, self._prepared)
        self._input = onnx.load(self._prepared, load_external_data=False).graph.input[0].name
        self.blocks: tuple[ChainBlock, ...] = chain_blocks(self._prepared, most=most)

    def model(self, precisions: Precisions) -> Path:
        """Return the file of the network with these blocks in int8, written unless it is there.

        Raises:
            ExportError: it cannot be quantized.
        """
        if not any(precisions):
            return self._path
        target = self._folder / f"{written(precisions)}.onnx"
        if not target.is_file():
            draft = self._folder / "draft.onnx"
            floats = [
                name
                for block, is_int8 in zip(self.blocks, precisions, strict=True)
                if not is_int8
                for name in block.nodes
            ]
            with quantizing(f"to int8 by {self._method}", self._folder):
                batches = [{self._input: x.contiguous().numpy()} for x in self._images]
                ranges = self._folder / "ranges.json"
                quantize(self._prepared, draft, batches, method=self._method, excluded=floats, ranges=ranges)
            draft.replace(target)
        return target
