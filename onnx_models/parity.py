"""Whether two models compute the same, by what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-4
"""Largest difference between outputs, relative to the largest of them where that is above 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """The differences that may be between outputs of one model, computed by two programs.

    Attributes:
        share: of the largest value of an output.
        smallest: what that value is taken for at least.
        at_least: what may be in any case: one step of integers, which round elsewhere.
    """

    share: float = TOLERANCE
    smallest: float = 1.0
    at_least: float = 0.0

    def limit(self, expected: Sequence[float | None]) -> float:
        """Return the largest difference that an output's values may have."""
        scale = max([self.smallest, *(abs(value) for value in expected if value is not None)])
        return max(self.at_least, self.share * scale)


SAME_PROGRAM = Tolerance()
"""For one program on two machines."""

Outputs = Sequence[Sequence[float | None]]
"""Some values of every output of a model; None for what is not finite."""

Predictions = Callable[[NDArray[np.float32]], NDArray[np.integer[Any]]]
"""Outputs of images to what they say, as integers: classes, of images or of positions."""

MIN_EQUAL_PREDICTIONS = 0.999


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """The differences between the expected and the found outputs.

    Attributes:
        max_abs_difference: over all outputs of all images.
        max_abs_output: the largest output, for scale.
        equal_predictions: share of predictions, of images or of their positions, that are the same.
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


def largest(outputs_NK: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
    """Return what a classifier predicts: for each image or position the index of the largest output."""
    found: NDArray[np.integer[Any]] = outputs_NK.argmax(axis=1)
    return found


def parity_of(
    outputs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]], predictions: Predictions = largest
) -> Parity:
    """Return how far apart expected and found outputs [N, outputs] are, which come batch by batch."""
    differences, largest, equal = [], [], []
    for expected_NK, found_NK in outputs:
        differences.append(np.abs(expected_NK - found_NK).max())
        largest.append(np.abs(expected_NK).max())
        equal.append(predictions(expected_NK) == predictions(found_NK))
    return Parity(
        max_abs_difference=float(np.max(differences)),
        max_abs_output=float(np.max(largest)),
        equal_predictions=sum(int(part.sum()) for part in equal) / sum(part.size for part in equal),
        num_images=sum(map(len, equal)),
    )


def difference(found: Outputs, expected: Outputs, tolerance: Tolerance = SAME_PROGRAM) -> str | None:
    """Return by how much outputs differ from those expected, in words; None where they agree."""
    sizes, expected_sizes = [len(values) for values in found], [len(values) for values in expected]
    if sizes != expected_sizes:
        return f"expected outputs of {expected_sizes} values, found {sizes}"
    for found_values, values in zip(found, expected, strict=True):
        limit = tolerance.limit(values)
        for a, b in zip(found_values, values, strict=True):
            if a is None or b is None:
                if a is not b:
                    return "infinity or no number in only one of the two"
            elif abs(a - b) > limit:
                return f"outputs differ by {abs(a - b):.3g}, at most {limit:.3g} is expected"
    return None
