"""The walk over precision states, learnt from measured assignments of int8 to a network's blocks.

A stretch of blocks in float takes what its blocks take, something where it begins and where it ends, and something of
its own: a Gaussian process with a term for each, so that the noise of one measurement does not go into every assignment
that has that stretch. What each further stretch of an assignment takes besides is learnt from assignments of several.

M measured assignments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from lut.precision_walk import PrecisionWalk, float_stretches, stretches
from lut.smoothing import JITTER, Array, likely_log_variances

USUAL = (1.0, 0.1, 0.1, 0.1, 0.01, 0.01, 1e-3)
"""Prior variances, relative to what a block in float takes more: of the blocks in common, of each of them, of where a
stretch begins, of where it ends, of each stretch, of each further one, and of noise."""


def fitted_walk(measured_ms: Mapping[tuple[bool, ...], float], *, int8_ms: float, num_blocks: int) -> PrecisionWalk:
    """Return the walk that measured assignments make likeliest.

    Args:
        measured_ms: milliseconds of assignments with a block in float or more, above zero.
        int8_ms: those of the network with every block in int8.

    Raises:
        ValueError: nothing was measured, every block of an assignment is in int8, an assignment is of another number of
            blocks, or a latency is no finite number above zero.
    """
    if not measured_ms or any(all(precisions) for precisions in measured_ms):
        raise ValueError(f"expected measured assignments with a block in float each, got {[*measured_ms]}")
    if wrong := [precisions for precisions in measured_ms if len(precisions) != num_blocks]:
        raise ValueError(f"expected assignments of {num_blocks} blocks, got {wrong[0]}")
    if wrong_ms := [ms for ms in (int8_ms, *measured_ms.values()) if not 0 < ms < np.inf]:
        raise ValueError(f"expected milliseconds above zero, got {wrong_ms[0]}")
    known = [float_stretches(precisions) for precisions in measured_ms]
    ms = np.array([*measured_ms.values()])
    num_in_float = np.array([sum(not is_int8 for is_int8 in precisions) for precisions in measured_ms])
    scale = float(np.sqrt(np.mean(((ms - int8_ms) / num_in_float) ** 2))) or int8_ms
    # Noise is in proportion to the latency: in these units it is the same of all.
    units = ms / int8_ms
    values = (ms - int8_ms) / scale / units
    features = [feature / units[:, None] for feature in _features(known, num_blocks)]
    terms = [feature @ feature.T for feature in features]
    log_variances = likely_log_variances(terms, values, np.log(USUAL))
    variances = np.exp(log_variances)
    covariance = np.tensordot(variances[:-1], terms, 1) + (variances[-1] + JITTER) * np.eye(len(values))
    solved = solve(covariance, values, assume_a="pos")

    def posterior_ms(asked: Sequence[Array]) -> Array:
        terms = [feature @ other.T for feature, other in zip(asked, features, strict=True)]
        found: Array = scale * (np.tensordot(variances[:-1], terms, 1) @ solved)
        return found

    each = stretches(num_blocks)
    nothing = [np.zeros((1, feature.shape[1])) for feature in features]
    of_each = posterior_ms(_features([[stretch] for stretch in each], num_blocks))
    return PrecisionWalk(
        num_blocks=num_blocks,
        int8_ms=int8_ms,
        float_stretches_ms={stretch: float(value) for stretch, value in zip(each, of_each, strict=True)},
        further_stretch_ms=float(posterior_ms([*nothing[:-1], np.ones((1, 1))])[0]),
    )


def _features(known: Sequence[Sequence[tuple[int, int]]], num_blocks: int) -> list[Array]:
    """Return what assignments have of each term but noise, [M, what there is of that term]."""
    places = {stretch: place for place, stretch in enumerate(stretches(num_blocks))}
    blocks, begins, ends = (np.zeros((len(known), num_blocks)) for _ in range(3))
    own = np.zeros((len(known), len(places)))
    for row, of_row in enumerate(known):
        for first, after in of_row:
            blocks[row, first:after] = begins[row, first] = ends[row, after - 1] = 1.0
            own[row, places[first, after]] = 1.0
    further: NDArray[np.float64] = np.array([[len(of_row) - 1.0] for of_row in known])
    return [blocks.sum(axis=1, keepdims=True), blocks, begins, ends, own, further]
