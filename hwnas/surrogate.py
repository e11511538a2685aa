"""Costs as sums over choices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.constraint import HardLimits
from search_spaces import SearchSpace

NUM_SAMPLES = 4000


class AdditiveCosts:
    """The least-squares sum over choices nearest to each limited cost, as a share of its maximum.

    Exact for parameters, multiply-accumulates and plain sums of block latencies in spaces of one decision a layer; what
    neighbours change about each other is averaged.
    """

    def __init__(self, space: SearchSpace, constraint: HardLimits) -> None:
        limits = [limit for limit in constraint.limits if limit.maximum is not None]
        self.num_limits = len(limits)
        self._sizes = [len(d.choices) for d in space.decisions]
        if not limits:
            return
        rows = space.sample_many(NUM_SAMPLES, np.random.default_rng(0))
        shares = np.stack([limit.cost(rows) / (limit.maximum or 1.0) for limit in limits], axis=1)
        design = np.concatenate([np.ones((len(rows), 1)), one_hot(rows, self._sizes)], axis=1)
        coefficients, *_ = np.linalg.lstsq(design, shares, rcond=None)
        self._constants = torch.from_numpy(coefficients[0]).float()
        self._coefficients = torch.from_numpy(coefficients[1:]).float()

    def expected_shares(self, probabilities: Sequence[torch.Tensor]) -> torch.Tensor:
        """[..., num_limits] expected costs, each as a share of its maximum, where choices are independent.

        Args:
            probabilities: per decision, [..., num_choices] adding up to one.
        """
        if not self.num_limits:
            return torch.zeros(0)
        return self._constants + torch.cat(list(probabilities), dim=-1) @ self._coefficients


def one_hot(architectures: NDArray[np.integer], sizes: Sequence[int]) -> NDArray[np.float64]:
    """Return [num_architectures, sum of sizes] ones where a choice was made."""
    starts = np.cumsum([0, *sizes[:-1]])
    encoded = np.zeros((len(architectures), sum(sizes)))
    np.put_along_axis(encoded, np.asarray(architectures) + starts, 1.0, axis=1)
    return encoded
