"""Blocks and networks of a space as ONNX files."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from onnx_models.export import export_once
from onnx_models.image_size import height_width
from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.space import SearchSpace


def export_block(
    block: Block, folder: Path, *, batch: int = 1, opset: int | None = None, is_fresh: bool = False
) -> Path:
    """Export a block into `folder`, unless one of the same key, batch and versions is there unchanged.

    Args:
        is_fresh: export in any case.

    Raises:
        ExportError: it cannot be expressed in ONNX.
        WriteError: the folder cannot be written to.
    """
    shapes = [(batch, *shape) for shape in block.input_shapes]
    return export_once(
        block.key, block.family, folder, block.build, input_shapes=shapes, opset=opset, is_fresh=is_fresh
    )


def export_network(
    space: SearchSpace,
    architecture: Architecture,
    folder: Path,
    *,
    batch: int = 1,
    opset: int | None = None,
    is_fresh: bool = False,
) -> Path:
    """Export a network into `folder`, with random weights; once, like blocks."""
    shapes = [(batch, space.spec.in_channels, *height_width(space.input_size(architecture)))]
    text = "+".join(block.key for block in space.blocks(architecture))

    def build() -> nn.Module:
        return space.deployed(space.build(architecture))

    return export_once(text, "network", folder, build, input_shapes=shapes, opset=opset, is_fresh=is_fresh)
