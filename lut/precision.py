"""Whole networks of a space in the precision of a table."""

from __future__ import annotations

from pathlib import Path

from onnx_models.precision import Precision, in_precision
from search_spaces import Architecture, SearchSpace
from search_spaces.onnx_export import export_network


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
