"""A model of the machine, learnt from whole networks: what blocks cost in a network, from what they cost alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass as validated_dataclass

from lut.cache import BlockSize, CacheModel, lost_share
from lut.provenance import STRICT, Count, Factor, Milliseconds, NotNegative

OFFSET_STD = 0.01
"""Prior standard deviation of what a network takes besides its blocks, relative to a typical network."""

SCALE_STD = 0.3
"""Prior standard deviation of the factor common to all blocks, around 1."""

CALL_STD = 0.3
"""Prior standard deviation of a call, relative to a typical block: what a block alone pays for being run by itself,
layout conversions that every block has at its ends included."""

WEIGHTS_STD = 0.5
ACTIVATIONS_STD = 0.3
"""Prior standard deviations of what bringing all weights, and all activations, of a typical network back into the
cache costs, relative to that network. A network of nothing but matrix times vector is bound by its weights' way."""

FIRST_RUN_STD = 0.5
NEAR_STD = 0.3
"""Prior standard deviations of the shares of what blocks take longer right after other models that networks which have
lost everything pay, and that all networks pay."""

LAYOUT_STD = 0.1
"""Prior standard deviation of what layout conversions come to, their number and their size, in a typical network."""

PROPERTY_STDS = (0.0, 0.01, 0.03, 0.1)
"""Prior standard deviations tried for what blocks of a property share: factors, and constants relative to a block."""

SHARPNESSES = (2.5, 5.0, 10.0)
NUM_HALVES = 24
"""Shapes tried for the loss of the cache; its halves range from half of the smallest to twice the largest network."""

NOISE_STD = 0.03
"""Relative error of a network's measurement and of the model together; only its ratio to the priors matters."""

TINY = 1e-12
"""Least mean square of residuals, so that networks that are exactly sums of their blocks have a logarithm."""

MIN_NETWORKS = 4
"""Fewer calibration networks than this are not enough to choose anything by."""

MAX_CHOOSING = 100
"""Networks that the shape of the model is chosen by; all of them then fit its numbers."""


@validated_dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Calibration:
    """latency = offset + sum over blocks of (latency alone x factor + constant - call) + layout conversions
    + share of the working set that is lost x sum over blocks of what bringing it back costs.

    Attributes:
        offset_ms: what a network takes besides its blocks, its one call included.
        call_ms: what a block alone pays for its own call, and in a network does not.
        factors: by block key; 1 where a block takes as long in a network as alone.
        constants_ms: by block key; what blocks of a property differ by, and what `CacheModel.constant_ms` says.
        conversion_ms: per layout conversion that a network has more than its blocks alone (see `LayoutWalk`).
        element_ms: per tensor element that those conversions move.
        cache: what leaves the cache in networks of which size, and what that costs.
        factor_std, constant_std: the priors of what properties share, as the evidence has them.
        cross_validated_mape: leave-one-out error on the calibration networks.
        num_networks: how many there were.

    Raises:
        ValueError: a number is out of its range, or a block has a factor and no constant or the other way round.
    """

    offset_ms: Milliseconds
    call_ms: Milliseconds
    factors: Annotated[Mapping[str, Factor], Field(min_length=1)]
    constants_ms: Mapping[str, Milliseconds]
    conversion_ms: Milliseconds = 0.0
    element_ms: Milliseconds = 0.0
    cache: CacheModel
    factor_std: NotNegative
    constant_std: NotNegative
    cross_validated_mape: NotNegative
    num_networks: Annotated[Count, Field(ge=MIN_NETWORKS)]

    @model_validator(mode="after")
    def _blocks_agree(self) -> Calibration:
        if differing := sorted(self.factors.keys() ^ self.constants_ms.keys()):
            raise ValueError(f"{differing[0]} has a factor or a constant, expected both")
        return self

    def block_ms(self, key: str, latency_ms: float) -> float:
        """Return what a block adds to a network that stays in the cache, at least nothing."""
        return max(0.0, latency_ms * self.factors[key] + self.constants_ms[key] - self.call_ms)


def calibrate(
    block_ms: Mapping[str, float],
    networks: Sequence[Mapping[str, int]],
    network_ms: Sequence[float],
    *,
    sizes: Mapping[str, BlockSize],
    conversions: NDArray[np.float64] | None = None,
) -> Calibration:
    """Return the machine that explains the calibration networks, as far as they tell it from what is usual.

    A Bayesian linear regression (Bishop 2006, section 3.3) of relative latencies. What is not linear, the shape of the
    loss of the cache and the priors of what blocks of a property share (family, kernel, expansion, groups, stride,
    resolution), is the mean over a grid, weighted by the evidence (Bishop 2006, section 3.5): the best point of the
    grid alone is a lottery with twenty networks.

    Args:
        block_ms: isolated latency by block key.
        networks: how often each block is in each network.
        network_ms: measured latency of each network.
        sizes: what each block needs in the cache, by key.
        conversions: [num_networks, 3] layout conversions, their elements and what is known of their milliseconds, more
            than the blocks alone have.

    Raises:
        ValueError: there are fewer than four networks.
    """
    if len(networks) < MIN_NETWORKS:
        raise ValueError(f"calibration needs at least {MIN_NETWORKS} networks, got {len(networks)}")
    keys = sorted(block_ms)
    problem = _Problem(
        counts=np.array([[count.get(key, 0) for key in keys] for count in networks], dtype=np.float64),
        block_ms=np.array([block_ms[key] for key in keys]),
        measured_ms=np.asarray(network_ms, dtype=np.float64),
        properties=_properties(keys),
        weights_mb=np.array([sizes[key].weights_mb for key in keys]),
        activations_mb=np.array([sizes[key].activations_mb for key in keys]),
        first_run_ms=np.array([sizes[key].first_run_ms for key in keys]),
        conversions=np.zeros((len(networks), 3)) if conversions is None else conversions,
    )
    shape = problem.likely_shape()
    return _calibration(problem, shape, problem.fit(shape), {key: sizes[key] for key in keys})


def _calibration(problem: _Problem, shape: _Shape, fit: _Fit, sizes: Mapping[str, BlockSize]) -> Calibration:
    """Return what was fitted in terms of blocks, in the order of the sizes."""
    value = fit.coefficients
    cache = CacheModel(
        half_mb=shape.half_mb,
        sharpness=shape.sharpness,
        weight_ms=value["lost_weights"],
        activation_ms=value["lost_activations"],
        call_ms=value["lost_calls"],
        first_run=value["lost_first_runs"],
        near=value["first_runs"],
    )
    factors = 1.0 + value["scale"] + problem.properties @ fit.factors
    constants_ms = problem.properties @ fit.constants_ms + [cache.constant_ms(size) for size in sizes.values()]
    return Calibration(
        offset_ms=value["offset"] - value["call"],
        call_ms=-value["call"],
        factors=dict(zip(sizes, factors.tolist(), strict=True)),
        constants_ms=dict(zip(sizes, constants_ms.tolist(), strict=True)),
        conversion_ms=value["conversions"],
        element_ms=value["elements"],
        cache=cache,
        factor_std=shape.factor_std,
        constant_std=shape.constant_std,
        cross_validated_mape=float(fit.leave_one_out.mean()),
        num_networks=len(problem.measured_ms),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shape:
    """The parameters that the fit is not linear in."""

    half_mb: float
    sharpness: float
    factor_std: float
    constant_std: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fit:
    """Coefficients by the name of their column; factors and constants by property; errors of left-out networks."""

    coefficients: Mapping[str, float]
    factors: NDArray[np.float64]
    constants_ms: NDArray[np.float64]
    leave_one_out: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    """counts: [num_networks, num_blocks]. properties: [num_blocks, num_properties] zeros and ones.
    conversions: [num_networks, 3]. The others: a number per block or network."""

    counts: NDArray[np.float64]
    block_ms: NDArray[np.float64]
    measured_ms: NDArray[np.float64]
    properties: NDArray[np.float64]
    weights_mb: NDArray[np.float64]
    activations_mb: NDArray[np.float64]
    first_run_ms: NDArray[np.float64]
    conversions: NDArray[np.float64]

    def columns(self, half_mb: float, sharpness: float) -> dict[str, tuple[NDArray[np.float64], float]]:
        """Return what latencies are linear in, [num_networks] each, with the prior standard deviation of each
        coefficient in milliseconds per unit of the column."""
        network_ms, block_ms = float(np.median(self.measured_ms)), float(np.median(self.block_ms))
        num_blocks = self.counts.sum(axis=1)
        weights_mb, activations_mb = self.counts @ self.weights_mb, self.counts @ self.activations_mb
        lost = lost_share(weights_mb + activations_mb, half_mb, sharpness)
        # What a block alone has lost is in its latency already.
        more = self.counts * (lost[:, None] - lost_share(self.weights_mb + self.activations_mb, half_mb, sharpness))
        num, elements, _ = self.conversions.T

        def per_unit(share: float, column: NDArray[np.float64]) -> float:
            return share * network_ms / max(float(np.abs(column).mean()), 1e-9)

        return {
            "offset": (np.ones_like(num_blocks), OFFSET_STD * network_ms),
            "scale": (self.sums_ms, SCALE_STD),
            # Each block alone has a call of its own, the network one.
            "call": (num_blocks - 1.0, CALL_STD * block_ms),
            "lost_weights": (more @ self.weights_mb, per_unit(WEIGHTS_STD, weights_mb)),
            "lost_activations": (more @ self.activations_mb, per_unit(ACTIVATIONS_STD, activations_mb)),
            "lost_calls": (more.sum(axis=1), CALL_STD * block_ms),
            "lost_first_runs": (more @ self.first_run_ms, FIRST_RUN_STD),
            "first_runs": (self.counts @ self.first_run_ms, NEAR_STD),
            "conversions": (num, per_unit(LAYOUT_STD, num)),
            "elements": (elements, per_unit(LAYOUT_STD, elements)),
        }

    def likely_shape(self) -> _Shape:
        """Return the mean over the grid of shapes, each weighted by its evidence."""
        some = self._first(MAX_CHOOSING)
        total_mb = some.counts @ (some.weights_mb + some.activations_mb)
        halves = np.geomspace(max(0.5 * total_mb.min(), 1e-6), max(2.0 * total_mb.max(), 2e-6), NUM_HALVES)
        stds = np.array(list(product(PROPERTY_STDS, PROPERTY_STDS)))
        shared = some.shared_covariances(stds)  # the same at every point, and most of the work
        points, log_evidence = [], []
        for half_mb, sharpness in product(halves, SHARPNESSES):
            # Of half and sharpness the logarithm is averaged, of standard deviations the variance.
            points += [(np.log(half_mb), np.log(sharpness), f**2, c**2) for f, c in stds]
            log_evidence.append(_log_evidence(some.covariances(half_mb, sharpness, shared), some.residual))
        evidence = np.concatenate(log_evidence)
        weights = np.exp(evidence - evidence.max())
        log_half, log_sharpness, *variances = weights @ np.array(points) / weights.sum()
        factor_std, constant_std = np.sqrt(variances)
        return _Shape(
            half_mb=float(np.exp(log_half)),
            sharpness=float(np.exp(log_sharpness)),
            factor_std=float(factor_std),
            constant_std=float(constant_std),
        )

    def fit(self, shape: _Shape) -> _Fit:
        """Return the posterior mean, and relative leave-one-out errors (Rasmussen and Williams 2006, equation 5.12)."""
        stds = np.array([[shape.factor_std, shape.constant_std]])
        shared = self.shared_covariances(stds)
        inverse = np.linalg.inv(self.covariances(shape.half_mb, shape.sharpness, shared)[0])
        # Everything is relative to the measured latency: errors are relative, and so is the noise.
        pull = inverse @ self.residual / self.measured_ms
        columns = self.columns(shape.half_mb, shape.sharpness)
        by_factor, by_constant = self._of_properties()
        return _Fit(
            coefficients={name: float(std**2 * (column @ pull)) for name, (column, std) in columns.items()},
            factors=shape.factor_std**2 * (by_factor.T @ pull),
            constants_ms=shape.constant_std**2 * float(np.median(self.block_ms)) * (by_constant.T @ pull),
            leave_one_out=np.abs(inverse @ self.residual / np.diag(inverse)),
        )

    @property
    def residual(self) -> NDArray[np.float64]:
        """The part of each network's measured latency that plain sums of blocks lack, as a share of it."""
        return 1.0 - self.sums_ms / self.measured_ms

    @property
    def sums_ms(self) -> NDArray[np.float64]:
        """The milliseconds of each network's blocks alone, but for conversions that are known to vanish."""
        return self.counts @ self.block_ms + self.conversions[:, 2]

    def covariances(
        self, half_mb: float, sharpness: float, shared: tuple[NDArray[np.float64], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Return the prior covariance of the residuals, [num_pairs, num_networks, num_networks].

        Args:
            shared: what `shared_covariances` gives.
        """
        columns = self.columns(half_mb, sharpness)
        design = np.stack([std * column for column, std in columns.values()], axis=1) / self.measured_ms[:, None]
        own = design @ design.T + NOISE_STD**2 * np.eye(len(design))
        by_factors, by_constants = shared
        total: NDArray[np.float64] = own + by_factors + by_constants
        return total

    def shared_covariances(self, property_stds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what the factors, and the constants, that blocks of a property share add to the covariance.

        Args:
            property_stds: [num_pairs, 2] of factors and of constants.

        Returns:
            [num_pairs, num_networks, num_networks] each.
        """
        by_factor, by_constant = (part / self.measured_ms[:, None] for part in self._of_properties())
        factor_variances, constant_variances = (property_stds**2).T[:, :, None, None]
        return factor_variances * (by_factor @ by_factor.T), constant_variances * (by_constant @ by_constant.T)

    def _of_properties(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the milliseconds that networks spend in blocks of each property, and how many such blocks they have.

        The number is in milliseconds of a typical block; both are [num_networks, num_properties].
        """
        typical_ms = float(np.median(self.block_ms))
        return (self.counts * self.block_ms) @ self.properties, typical_ms * self.counts @ self.properties

    def _first(self, num: int) -> _Problem:
        return _Problem(
            counts=self.counts[:num],
            block_ms=self.block_ms,
            measured_ms=self.measured_ms[:num],
            properties=self.properties,
            weights_mb=self.weights_mb,
            activations_mb=self.activations_mb,
            first_run_ms=self.first_run_ms,
            conversions=self.conversions[:num],
        )


def _log_evidence(covariances: NDArray[np.float64], residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log likelihood of the residuals under each covariance, whose scale is chosen at its best."""
    num = len(residual)
    solved = np.linalg.solve(covariances, np.broadcast_to(residual[:, None], (len(covariances), num, 1)))[..., 0]
    fits = -0.5 * num * np.log(np.maximum(solved @ residual / num, TINY))
    value: NDArray[np.float64] = fits - 0.5 * np.linalg.slogdet(covariances)[1]
    return value


def _properties(keys: Sequence[str]) -> NDArray[np.float64]:
    """Return which of the properties that keys spell out each block has, [num_keys, num_properties]; not channels."""
    properties = []
    for key in keys:
        family, _, fields = key.partition("(")
        named = re.findall(r"(\w+)=([^,)]+)", fields)
        properties.append({family} | {f"{name}={value}" for name, value in named if name not in ("in", "out")})
    names = sorted(set().union(*properties))
    return np.array([[float(name in own) for name in names] for own in properties])
