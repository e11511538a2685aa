"""ONNX models as functions of tensors."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from onnx_models.pixels import PROBABILITIES

FLOATS: dict[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}
"""The types that normalised images may have, by ONNX Runtime's names for them."""


class OnnxNetwork:
    """Runs a model of one input in ONNX Runtime on the CPU.

    Args:
        path: the model.
        output: the name of the output that is looked at; None where there is one.

    Attributes:
        batch: the file's fixed batch size; None where it takes any.

    Raises:
        ValueError: the model has several inputs, several outputs of which none is named, or none of that name.
    """

    def __init__(self, path: Path, output: str | None = None) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        inputs = self._session.get_inputs()
        outputs = {node.name: node for node in self._session.get_outputs()}
        if len(inputs) != 1 or (output is None and len(outputs) != 1):
            raise ValueError(
                f"it has {len(inputs)} inputs and {len(outputs)} outputs ({', '.join(outputs)}), expected one of each; "
                "of several outputs, --output names one"
            )
        if output is not None and output not in outputs:
            raise ValueError(f"it has no output {output!r}; there are: {', '.join(outputs)}")
        self.input, self.output = inputs[0], outputs[output or next(iter(outputs))]
        sizes = self.input.shape[:1]
        self.batch = sizes[0] if sizes and isinstance(sizes[0], int) else None

    @property
    def has_fixed_shape(self) -> bool:
        """Whether all sizes of the input are given, as measuring needs it."""
        return all(isinstance(size, int) for size in self.input.shape)

    @property
    def gives_probabilities(self) -> bool:
        """Whether softmax is inside."""
        return bool(self.output.name == PROBABILITIES)

    @property
    def takes_pixels(self) -> bool:
        """Whether it takes uint8 images as they are, rather than normalised ones."""
        return bool(self.input.type == "tensor(uint8)")

    @property
    def float_type(self) -> type[np.floating[Any]] | None:
        """The type that the images are given as; None where the model takes something else than floats."""
        return FLOATS.get(str(self.input.type))

    def typed(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the images as the model takes them: in its float type, or as the pixels that they are."""
        images = x_NCHW.contiguous().numpy()
        return torch.from_numpy(images if self.float_type is None else images.astype(self.float_type, copy=False))

    def raw(self, x_NCHW: torch.Tensor) -> list[Any]:
        """Return the outputs for each part of the images, which has the fixed batch size; the last is filled up."""
        images = self.typed(x_NCHW).numpy()
        parts = [images]
        if self.batch is not None:
            missing = -len(images) % self.batch
            filled = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
            parts = np.split(filled, len(filled) // self.batch)
        return [self._session.run([self.output.name], {self.input.name: part})[0] for part in parts]

    def __call__(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """The outputs, as floats."""
        outputs = np.concatenate(self.raw(x_NCHW))
        return torch.from_numpy(outputs[: len(x_NCHW)].astype(np.float32))


def operations(path: Path) -> dict[str, int]:
    """Return how often each operation is in the graph that ONNX Runtime makes of a model for this processor."""
    import tempfile

    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns that the file is for this processor only, which is the point
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))
