"""From an ONNX file to a module that computes the same."""

from __future__ import annotations

from pathlib import Path

from onnx_models.to_torch.checking import require_same
from onnx_models.to_torch.graph import read_graph
from onnx_models.to_torch.lowering import lower
from onnx_models.to_torch.module import OnnxModule


def module_of_onnx(path: Path, *, input_shape: tuple[int | None, ...] | None = None) -> OnnxModule:
    """Return a module, in evaluation mode, that computes what an ONNX classifier computes, for any batch.

    It was compared with ONNX Runtime on random images. Weights are parameters, BatchNorm's statistics buffers; batches
    that the file fixes are free.

    Args:
        input_shape: sizes behind the batch, for what the file leaves free; None for those that it has to say.

    Raises:
        ModelError: it is no ONNX classifier of floats with one input and one output, a size is missing, an operation
            is not covered, or the result differs.
        FileError: the file cannot be opened.
    """
    graph = read_graph(path, input_shape=input_shape)
    module = OnnxModule(lower(graph), input_name=graph.input_name, input_shape=graph.input_shape)
    module.eval()
    require_same(module, path, input_shape=graph.input_shape, batch=graph.batch)
    return module
