"""Torch against ONNX Runtime on real images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onnx_models.parity import Parity, Predictions, largest, parity_of
from onnx_models.session import OnnxNetwork


def compare_with_onnx(
    module: nn.Module,
    path: Path,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    predictions: Predictions = largest,
) -> Parity:
    """Run both on the same images.

    Args:
        module: in evaluation mode.
        path: the ONNX file.
        batches: x_NCHW and targets_N.
        predictions: what outputs say.
    """
    network = OnnxNetwork(path)

    def outputs() -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        for x_NCHW, _ in batches:
            with torch.inference_mode():
                expected_NK = module(x_NCHW).numpy()
            yield expected_NK, network(x_NCHW).numpy()

    return parity_of(outputs(), predictions)
