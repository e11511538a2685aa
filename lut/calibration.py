"""Corrections of block sums, learnt from whole networks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated_dataclass

OFFSET_STD = 0.1
"""Prior standard deviation of the offset, relative to a typical network."""

SCALE_STD = 0.3
"""Prior standard deviation of the factor common to all blocks, around 1, and of what each block costs on its own
besides, relative to a typical block: the call, and the layout conversions at its ends."""

LAYOUT_STD = 0.1
"""Prior standard deviation of what layout conversions come to, their number and their size, in a typical network."""

TRAFFIC_STD = 0.1
"""Prior standard deviation of what the memory traffic of weights and of activations costs in a typical network, and
of its square: a block timed alone finds its weights in the cache; in a network, the more is touched between two uses of
the same data, the less of it is still there."""

FACTOR_STDS = (0.0, 0.01, 0.03, 0.1)
CONSTANT_STDS = (0.0, 0.01, 0.03, 0.1)
"""Prior standard deviations tried for what blocks of a property share: factors, and constants relative to a block."""

NOISE_STD = 0.02
"""Relative error of a network's measurement; only its ratio to the others matters."""

MIN_NETWORKS = 4
"""Fewer calibration networks than this are not enough to choose anything by."""


@validated_dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class Calibration:
    """latency = offset + sum over blocks of (block latency x its factor + its constant) + layout conversions
    + pressure x traffic squared.

    Attributes:
        offset_ms: per network.
        factors: by block key.
        constants_ms: by block key; mostly below zero, since a block timed alone pays for its call.
        conversion_ms: per layout conversion that a network has more than its blocks alone (see `LayoutWalk`).
        element_ms: per tensor element that those conversions move.
        pressure_ms: per squared element of the network's weights and activations together.
        method: "affine", or "bayesian" where properties of blocks have factors or constants of their own.
        factor_std, constant_std: the prior that cross-validation chose.
        cross_validated_mape: leave-one-out error on the calibration networks.
        num_networks: how many there were.
    """

    offset_ms: float
    factors: Mapping[str, float]
    constants_ms: Mapping[str, float]
    conversion_ms: float = 0.0
    element_ms: float = 0.0
    pressure_ms: float = 0.0
    method: str
    factor_std: float
    constant_std: float
    cross_validated_mape: float
    num_networks: int

    def block_ms(self, key: str, latency_ms: float) -> float:
        """What a block adds to a network, at least nothing."""
        return max(0.0, latency_ms * self.factors[key] + self.constants_ms[key])


def calibrate(
    block_ms: Mapping[str, float],
    networks: Sequence[Mapping[str, int]],
    network_ms: Sequence[float],
    *,
    traffic: Mapping[str, tuple[int, int]] | None = None,
    conversions: NDArray[np.float64] | None = None,
) -> Calibration:
    """The correction that cross-validation on the calibration networks prefers.

    A Bayesian linear regression (Bishop 2006, section 3.3) of network latencies on block latencies: an offset per
    network, a factor and a constant common to all blocks, what memory traffic and layout conversions cost, and, where
    they help, factors and constants of what blocks have in common (family, kernel, expansion, groups, stride,
    resolution). The isolated measurements are the prior mean. With both priors of properties at zero it is an affine
    correction.

    Args:
        block_ms: isolated latency by block key.
        networks: how often each block is in each network.
        network_ms: measured latency of each network.
        traffic: by block key, the elements of its weights and of its activations.
        conversions: [num_networks, 2] layout conversions and their elements, more than the blocks alone have.

    Raises:
        ValueError: there are fewer than four networks.
    """
    if len(networks) < MIN_NETWORKS:
        raise ValueError(f"calibration needs at least {MIN_NETWORKS} networks, got {len(networks)}")
    keys = sorted(block_ms)
    counts = np.array([[count.get(key, 0) for key in keys] for count in networks], dtype=np.float64)
    problem = _Problem(
        counts=counts,
        block_ms=np.array([block_ms[key] for key in keys]),
        measured_ms=np.asarray(network_ms, dtype=np.float64),
        features=_features(keys),
        traffic=np.array([traffic[key] if traffic else (0, 0) for key in keys], dtype=np.float64),
        conversions=np.zeros((len(networks), 2)) if conversions is None else conversions,
    )
    fits = [(problem.fit(f, c), f, c) for f, c in product(FACTOR_STDS, CONSTANT_STDS)]
    fit, factor_std, constant_std = min(fits, key=lambda row: float(row[0].leave_one_out.mean()))
    return Calibration(
        offset_ms=fit.offset_ms,
        factors=dict(zip(keys, fit.factors.tolist(), strict=True)),
        constants_ms=dict(zip(keys, fit.constants_ms.tolist(), strict=True)),
        conversion_ms=float(fit.conversions_ms[0]),
        element_ms=float(fit.conversions_ms[1]),
        pressure_ms=fit.pressure_ms,
        method="bayesian" if factor_std or constant_std else "affine",
        factor_std=factor_std,
        constant_std=constant_std,
        cross_validated_mape=float(fit.leave_one_out.mean()),
        num_networks=len(networks),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fit:
    offset_ms: float
    factors: NDArray[np.float64]
    constants_ms: NDArray[np.float64]
    conversions_ms: NDArray[np.float64]
    pressure_ms: float
    leave_one_out: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    """counts: [num_networks, num_blocks]. features: [num_blocks, num_features] zeros and ones.
    traffic: [num_blocks, 2]. conversions: [num_networks, 2]."""

    counts: NDArray[np.float64]
    block_ms: NDArray[np.float64]
    measured_ms: NDArray[np.float64]
    features: NDArray[np.float64]
    traffic: NDArray[np.float64]
    conversions: NDArray[np.float64]

    def fit(self, factor_std: float, constant_std: float) -> _Fit:
        """Posterior mean, and relative leave-one-out errors (Rasmussen and Williams 2006, equation 5.12)."""
        typical_network_ms, typical_block_ms = float(np.median(self.measured_ms)), float(np.median(self.block_ms))
        num_features = self.features.shape[1]
        # Everything relative to the measured latency: errors are relative, and so is the noise.
        relative = self.counts / self.measured_ms[:, None]
        parts, constants = relative * self.block_ms, relative * typical_block_ms
        common = np.ones((len(self.block_ms), 1))
        of_block = np.concatenate([common, self.features], axis=1)
        typical_conversions = np.maximum(np.abs(self.conversions).mean(axis=0), 1.0)
        typical_traffic = np.maximum((self.counts @ self.traffic).mean(axis=0), 1.0)
        offset = typical_network_ms / self.measured_ms[:, None]
        conversions = self.conversions / typical_conversions * offset
        traffic = self.counts @ self.traffic / typical_traffic * offset
        squared = (self.counts @ self.traffic.sum(axis=1, keepdims=True)) ** 2
        typical_squared = max(float(squared.mean()), 1.0)
        pressure = squared / typical_squared * offset
        design = np.concatenate(
            [offset, parts @ of_block, constants @ of_block, traffic, conversions, pressure], axis=1
        )
        stds = np.concatenate(
            [
                [OFFSET_STD, SCALE_STD],
                np.full(num_features, factor_std),
                [SCALE_STD],
                np.full(num_features, constant_std),
                [TRAFFIC_STD, TRAFFIC_STD],
                [LAYOUT_STD, LAYOUT_STD],
                [TRAFFIC_STD],
            ]
        )
        residual = 1.0 - parts.sum(axis=1)
        weighted = design * stds**2
        covariance = weighted @ design.T + NOISE_STD**2 * np.eye(len(residual))
        inverse = np.linalg.inv(covariance)
        posterior = weighted.T @ (inverse @ residual)
        factors, block_constants = np.split(posterior[1:-5], 2)
        traffic_ms = self.traffic / typical_traffic * typical_network_ms @ posterior[-5:-3]
        return _Fit(
            offset_ms=float(posterior[0] * typical_network_ms),
            factors=1.0 + of_block @ factors,
            constants_ms=typical_block_ms * (of_block @ block_constants) + traffic_ms,
            conversions_ms=posterior[-3:-1] * typical_network_ms / typical_conversions,
            pressure_ms=float(posterior[-1] * typical_network_ms / typical_squared),
            leave_one_out=np.abs(inverse @ residual / np.diag(inverse)),
        )


def _features(keys: Sequence[str]) -> NDArray[np.float64]:
    """[num_keys, num_features] which of the properties that keys spell out each block has, channels left out."""
    properties = []
    for key in keys:
        family, _, fields = key.partition("(")
        named = re.findall(r"(\w+)=([^,)]+)", fields)
        properties.append({family} | {f"{name}={value}" for name, value in named if name not in ("in", "out")})
    names = sorted(set().union(*properties))
    return np.array([[float(name in own) for name in names] for own in properties])
