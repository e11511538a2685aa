"""Torch against ONNX Runtime on real images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hwnas.export.session import OnnxNetwork
from hwnas.quantities import share

TOLERANCE = 1e-4
"""Largest difference between logits, relative to the largest logit where that is above 1."""

MIN_EQUAL_PREDICTIONS = 0.999


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """The differences between the expected and the found outputs.

    Attributes:
        max_abs_difference: over all outputs of all images.
        max_abs_output: the largest output, for scale.
        equal_predictions: share of predictions, of images or of their positions, with the same largest output.
        num_images: how many were compared.
    """

    max_abs_difference: float
    max_abs_output: float
    equal_predictions: float
    num_images: int

    @property
    def holds(self) -> bool:
        """Whether the model may be handed out as the same network."""
        limit = TOLERANCE * max(1.0, self.max_abs_output)
        return self.max_abs_difference <= limit and self.equal_predictions >= MIN_EQUAL_PREDICTIONS


def compare_with_onnx(module: nn.Module, path: Path, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Parity:
    """Run both on the same images.

    Args:
        module: in evaluation mode.
        path: the ONNX file.
        batches: x_NCHW and targets_N.
    """
    network = OnnxNetwork(path)

    def outputs() -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        for x_NCHW, _ in batches:
            with torch.inference_mode():
                expected_NK = module(x_NCHW).numpy()
            yield expected_NK, network(x_NCHW).numpy()

    return parity_of(outputs())


def parity_of(outputs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> Parity:
    """Return how far apart expected and found outputs [N, outputs] are, which come batch by batch."""
    differences, largest, equal = [], [], []
    for expected_NK, found_NK in outputs:
        differences.append(np.abs(expected_NK - found_NK).max())
        largest.append(np.abs(expected_NK).max())
        equal.append(expected_NK.argmax(axis=1) == found_NK.argmax(axis=1))
    return Parity(
        max_abs_difference=float(np.max(differences)),
        max_abs_output=float(np.max(largest)),
        equal_predictions=share(sum(int(part.sum()) for part in equal), sum(part.size for part in equal)),
        num_images=sum(map(len, equal)),
    )
