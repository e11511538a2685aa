"""ONNX models as functions of tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch

from hwnas.dataflow import Batches, Dataset
from hwnas.export.pixels import PROBABILITIES

TEST_BATCH = 256


class OnnxNetwork:
    """Runs a model of one input and one output in ONNX Runtime on the CPU.

    Attributes:
        batch: the file's fixed batch size; None where it takes any.

    Raises:
        ValueError: the model has more than one input or output.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
        self.input, self.output = inputs[0], outputs[0]
        self.batch = self.input.shape[0] if isinstance(self.input.shape[0], int) else None

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

    def test_batches(self, dataset: Dataset) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The test images as this model takes them, and their targets."""
        if self.takes_pixels:
            return dataset.test.parts(TEST_BATCH)
        return Batches.of(dataset, dataset.test, TEST_BATCH).in_order()

    def __call__(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """The outputs; images are split into the fixed batch size, the last part filled up with zeros."""
        images = x_NCHW.contiguous().numpy()
        if self.input.type == "tensor(float16)":
            images = images.astype(np.float16)
        parts = [images]
        if self.batch is not None:
            missing = -len(images) % self.batch
            filled = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
            parts = np.split(filled, len(filled) // self.batch)
        outputs = np.concatenate([self._session.run(None, {self.input.name: part})[0] for part in parts])
        return torch.from_numpy(outputs[: len(images)].astype(np.float32))


def operations(path: Path) -> dict[str, int]:
    """How often each operation is in the graph that ONNX Runtime makes of a model for this processor."""
    import tempfile

    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns that the file is for this processor only, which is the point
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))
