"""Features that zero-cost proxies give a predictor, for architectures they were never computed for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.search.gaussian_process import ChoiceProcess, Features
from hwnas.search.predictor import normal_scores
from search_spaces import Architecture

NUM_SAMPLES = 200
"""Architectures that proxies are computed for; those of all others are predicted from them."""


def proxy_features(architectures: Sequence[Architecture], values: Mapping[str, Sequence[float]]) -> Features:
    """Return a function that gives each proxy's expected value, in normal quantiles, for any architectures.

    A proxy takes a tenth of a second, too long for every candidate of a predictor; as a deterministic function of the
    choices it is learnt by a Gaussian process of its own.

    Args:
        architectures: those that were computed.
        values: by proxy, in the order of the architectures; nan and infinities count as the lowest.
    """
    rows = np.array(architectures)
    posteriors = []
    for computed in values.values():
        ranked = normal_scores(np.nan_to_num(np.array(computed, dtype=np.float64), nan=-np.inf, posinf=-np.inf))
        process = ChoiceProcess(num_decisions=rows.shape[1])
        process.fit(rows, ranked)
        posteriors.append(process.condition(rows, ranked))

    def features(wanted: NDArray[np.integer]) -> NDArray[np.float64]:
        return np.stack([posterior.mean(wanted) for posterior in posteriors], axis=1)

    return features
