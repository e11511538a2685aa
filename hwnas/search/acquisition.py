"""How much a candidate is wanted, by what a predictor expects of its score."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from hwnas.constraint import CostModel

EXPLORATION = 3.5
"""The standard deviations that the upper confidence bound adds."""

NUM_BUDGETS = 200
"""Budgets that tell how far a front grows."""

NUM_WHOLE = 20
"""So many of them rule out no candidate, and the others are drawn: the best network under the run's own budgets is
sought too, for several devices as for one."""

Rows = NDArray[np.int64]
"""[num, num_decisions] choices."""


class Acquisition(Protocol):
    """Says how much candidates are wanted, and goes on from those that were chosen."""

    def wanted(self, rows: Rows, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return [num] how much candidates are wanted, whose scores are expected with a mean and a deviation [num]."""
        ...

    def take(self, row: NDArray[np.int64], mean: float) -> None:
        """Go on as if a candidate had been evaluated, with the score that was expected."""
        ...


class UpperBound(Acquisition):
    """The upper confidence bound: finds the best score."""

    def wanted(self, rows: Rows, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return [num] the means and some deviations."""
        return mean + EXPLORATION * deviation

    def take(self, row: NDArray[np.int64], mean: float) -> None:
        """Leave everything as it is: the others are wanted as much as before."""


class FrontGrowth(Acquisition):
    """The expected growth of the front of score and latencies, by its hypervolume (Emmerich et al. 2006).

    The hypervolume is the best score under a budget for each device, in the mean over all budgets. Latencies are known
    of every candidate, and only scores are uncertain: under each of some budgets that are drawn, the expected
    improvement on the best score there is a formula (Jones et al. 1998). Some budgets are the largest latencies that
    there are, since a run's winner is the best network under these.

    Args:
        latencies: [num, num_decisions] choices to [num, num_devices] latencies.
        rows: networks whose scores are known.
        scores: [num] these.
        candidates: budgets are drawn between the least and the largest latency of these and of the rows.
        rng: draws them.
    """

    def __init__(
        self,
        latencies: CostModel,
        rows: Rows,
        scores: NDArray[np.float64],
        candidates: Rows,
        rng: np.random.Generator,
    ) -> None:
        self._latencies = latencies
        known = latencies(np.concatenate([rows, candidates]))
        least, most = known.min(axis=0), known.max(axis=0)
        self._budgets = rng.uniform(least, most, size=(NUM_BUDGETS, known.shape[1]))
        self._budgets[:NUM_WHOLE] = most
        self._best = np.where(self._keeps(rows), scores[:, None], scores.min()).max(axis=0)

    def wanted(self, rows: Rows, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return [num] expected improvements on the best score under a budget, in the mean over all that were drawn."""
        improved = np.zeros((len(rows), NUM_BUDGETS))
        row, budget = np.nonzero(self._keeps(rows))
        improved[row, budget] = _expected_improvement(mean[row] - self._best[budget], deviation[row])
        mean_improved: NDArray[np.float64] = improved.mean(axis=1)
        return mean_improved

    def take(self, row: NDArray[np.int64], mean: float) -> None:
        """Raise the best score under each budget that the network keeps."""
        kept = self._keeps(row[None])[0]
        self._best[kept] = np.maximum(self._best[kept], mean)

    def _keeps(self, rows: Rows) -> NDArray[np.bool_]:
        """Return [num, NUM_BUDGETS] whether networks keep budgets on every device."""
        kept: NDArray[np.bool_] = np.all(self._latencies(rows)[:, None] <= self._budgets, axis=2)
        return kept


def _expected_improvement(ahead: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of the positive parts of normal variables with these means and deviations."""
    ratio = ahead / np.maximum(deviation, 1e-12)
    density = np.exp(-0.5 * ratio**2) / np.sqrt(2 * np.pi)
    improvement: NDArray[np.float64] = ahead * ndtr(ratio) + deviation * density
    return improvement
