"""The cost of a network that is larger than the caches, which its blocks measured alone are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass

from lut.provenance import STRICT, Factor, Milliseconds
from onnx_models.precision import BYTES, Precision
from search_spaces import Block
from search_spaces.cost import block_cost

MB = 1e6
"""Bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSize:
    """The room that a block takes in the cache, and how much longer its first run takes.

    Attributes:
        weights_mb: megabytes of weights.
        activations_mb: megabytes that its layers give.
        first_run_ms: how much longer it takes right after other models than again and again; 0 where that is not known.
    """

    weights_mb: float
    activations_mb: float
    first_run_ms: float = 0.0

    @property
    def total_mb(self) -> float:
        """Weights and activations."""
        return self.weights_mb + self.activations_mb


def block_size(block: Block, *, precision: Precision, batch: int) -> BlockSize:
    """Return the size of a block in a precision at a batch size."""
    cost = block_cost(block)
    return BlockSize(
        weights_mb=cost.params * BYTES[precision] / MB,
        activations_mb=cost.activations * batch * BYTES[precision] / MB,
    )


@validated_dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class CacheModel:
    """The share of a network that is no longer in the cache when it is needed again, and the cost of bringing it there.

    A working set of S megabytes has lost the share S^p / (S^p + H^p) of itself, H being `half_mb` and p `sharpness`:
    nothing while it is far below the cache, everything once it is far above. Between the two a true least-recently-used
    cache would lose everything at once, and one with random replacement little by little; processors are in between,
    and share their last cache with others.

    Attributes:
        half_mb: the working set, weights and activations together, that has lost half of itself.
        sharpness: the exponent.
        weight_ms: milliseconds per megabyte of weights that are lost.
        activation_ms: milliseconds per megabyte of activations that are lost.
        call_ms: milliseconds per block when what the runtime itself needs for it is lost.
        first_run: the share that is lost by what a block takes longer in its first run, where that was measured.
        near: what blocks of any network lose of that, since a first-level or second-level cache holds only one block.
    """

    half_mb: Annotated[float, Field(gt=0, le=1e9)]
    sharpness: Annotated[float, Field(gt=0, le=100)]
    weight_ms: Milliseconds
    activation_ms: Milliseconds
    call_ms: Milliseconds
    first_run: Factor = 0.0
    near: Factor = 0.0

    def lost(self, working_set_mb: ArrayLike) -> NDArray[np.float64]:
        """Return the share of working sets that is lost between two uses, between 0 and 1."""
        return lost_share(np.asarray(working_set_mb, dtype=np.float64), self.half_mb, self.sharpness)

    def block_ms(self, size: BlockSize) -> float:
        """Return what a block costs more in a network that has lost all of its working set."""
        by_size = self.weight_ms * size.weights_mb + self.activation_ms * size.activations_mb
        return by_size + self.call_ms + self.first_run * size.first_run_ms

    def constant_ms(self, size: BlockSize) -> float:
        """Return what a block costs more in any network than alone.

        Less what it alone has paid already, since it loses a part of itself from one run to the next.
        """
        return self.near * size.first_run_ms - float(self.lost(size.total_mb)) * self.block_ms(size)


def lost_share(working_set_mb: NDArray[np.float64], half_mb: ArrayLike, sharpness: ArrayLike) -> NDArray[np.float64]:
    """Return S^p / (S^p + H^p) for working sets S, H the half and p the sharpness; arrays broadcast."""
    with np.errstate(over="ignore"):  # what is too large for a number is infinite, and the share 0 or 1
        ratio = np.maximum(working_set_mb, 1e-12) / np.asarray(half_mb)
        share: NDArray[np.float64] = 1.0 / (1.0 + ratio ** -np.asarray(sharpness, dtype=np.float64))
    return share
