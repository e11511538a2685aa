"""Latencies on a new device from those on known devices and a few measurements, by a Gaussian process.

N networks, S known devices, T terms of the covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lut.smoothing import CONSTANT, JITTER, Smoothing, likely_log_variances

Array = NDArray[np.float64]

LENGTHS = (0.5, 2.0)
"""Length scales of the terms that follow known latencies in any smooth way, in their standard deviations."""

CHOICE_DECAY = 3.0
"""How fast the covariance of networks falls with the share of decisions in which they differ."""

USUAL = (
    (1.0, 0.1, 0.1, 0.01, 0.03, 0.005, 0.03, 0.015, 0.03),
    (1.0, 0.1, 0.1, 0.01, 0.03, 0.1, 0.1, 0.1, 0.03),
)
"""Variances of the terms and of the noise, relative to that of the latencies, where known devices tell no better: for a
new device that resembles the known ones, and for one whose latencies follow its own law in the choices. The first are
about those that 400 measurements of NAS-Bench-201's networks on a Raspberry Pi 4 and a Pixel 3 make likeliest."""

MOST_TO_LEARN_FROM = 120
"""Networks that a known device's variances are learnt from."""

TAIL = 0.05
"""Share of the networks at either end of the known latencies that are not measured: a line through the extremes says
little about what is between."""

MOST_UNLIKE = 0.1
"""Share of the networks that known devices disagree about most, which are not measured: the first among them are those
that were mismeasured on one."""

DEGREES = 4.0
"""Degrees of freedom of the noise, whose tails are those of Student's t."""

NUM_REWEIGHTINGS = 4


@dataclass(frozen=True, kw_only=True)
class KnownNetworks:
    """Networks, and their latencies on known devices.

    Attributes:
        source_ms: milliseconds on each known device, above zero.
        choices: what each network has at each decision, numbered by name over all decisions; None where only the
            latencies are known.

    Raises:
        ValueError: there is no device, a latency is none, or the choices are of another number of networks.
    """

    source_ms: Array
    choices: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        shape = self.source_ms.shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"expected latencies of networks on one known device or more, found shape {shape}")
        if not (np.isfinite(self.source_ms).all() and (self.source_ms > 0).all()):
            raise ValueError("expected latencies above zero on known devices, found others; leave those networks out")
        if self.choices is not None and len(self.choices) != shape[0]:
            raise ValueError(f"expected choices of {shape[0]} networks, found those of {len(self.choices)}")

    @cached_property
    def latencies(self) -> Array:
        """Standardised latencies, of the same distribution on every device.

        Quantile normalisation (Bolstad et al. 2003) of square roots: in milliseconds a few large networks would count
        for all, in logarithms a few that do next to nothing.
        """
        roots = np.sqrt(self.source_ms)
        scaled = (roots - roots.mean(axis=0)) / _positive(roots.std(axis=0))
        common = np.sort(scaled, axis=0).mean(axis=1)
        common = (common - common.mean()) / _positive(common.std())
        ranks = rankdata(self.source_ms, axis=0) - 1  # the mean rank where networks take equally long
        same: Array = np.interp(ranks, np.arange(len(common)), common)
        return same

    @cached_property
    def mean(self) -> Array:
        """The mean of a network's standardised latencies."""
        mean: Array = self.latencies.mean(axis=1)
        return mean

    @cached_property
    def has_choice(self) -> Array:
        """Zeros and ones: which choice a network has at which decision, all decisions side by side."""
        if self.choices is None:
            return np.zeros((len(self.source_ms), 0))
        return np.concatenate([column[:, None] == np.unique(column) for column in self.choices.T], axis=1) * 1.0

    @cached_property
    def num_of_choice(self) -> Array:
        """The number of times that a network has each choice at any decision, standardised."""
        if self.choices is None:
            return np.zeros((len(self.source_ms), 0))
        found = np.stack([(self.choices == c).sum(axis=1) for c in np.unique(self.choices)], axis=1)
        scaled: Array = (found - found.mean(axis=0)) / _positive(found.std(axis=0).mean()) / np.sqrt(found.shape[1])
        return scaled

    @cached_property
    def by_choice(self) -> Array:
        """Return what the choices say about the standardised latencies, [N, S]; these where no choices are known.

        A latency was measured, and what is not in the choices is noise of the known device for the most part.
        """
        if self.choices is None:
            return self.latencies
        smoothing = Smoothing(self.choices, self.num_of_choice)
        return np.stack([smoothing.smoothed(values) for values in self.latencies.T], axis=1)

    def covariances(self, rows: NDArray[np.integer], others: NDArray[np.integer], devices: Sequence[int]) -> Array:
        """Return the terms of the covariance between networks, [T, rows, others], by the known devices that are given.

        Linear in the mean of the known latencies, as far as the choices say it and in what is beyond that, and in what
        devices differ by from the mean; smooth in all of them; linear in choices, and in their numbers; and falling
        with the number of decisions that differ. A term that nothing is known for is zero.
        """
        latencies = self.latencies[:, devices]
        mean = latencies.mean(axis=1, keepdims=True)
        own = latencies - mean
        by_choice = self.by_choice[:, devices].mean(axis=1, keepdims=True)
        scale = _positive(mean.std())
        mean, by_choice = mean / scale, by_choice / scale
        own = own / _positive(np.sqrt((own**2).sum(axis=1).mean()))
        one, other = latencies[rows], latencies[others]
        squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
        distances = np.maximum(0.0, squares) / len(devices)
        terms = [_product(part, rows, others) for part in (by_choice, mean - by_choice, own)]
        terms += [np.exp(-0.5 * distances / length**2) for length in LENGTHS]
        return np.stack([*terms, *self._by_choice(rows, others)])

    def _by_choice(self, rows: NDArray[np.integer], others: NDArray[np.integer]) -> list[Array]:
        if self.choices is None:
            return [np.zeros((len(rows), len(others)))] * 3
        num = self.choices.shape[1]
        centred = (self.has_choice - self.has_choice.mean(axis=0)) / np.sqrt(num)
        differing = 1.0 - _product(self.has_choice, rows, others) / num
        return [
            _product(centred, rows, others),
            _product(self.num_of_choice, rows, others),
            np.exp(-CHOICE_DECAY * differing),
        ]


class FewShotModel:
    """Predicts a new device's latencies of known networks from those of a few, and says which to measure.

    A Gaussian process (Rasmussen and Williams 2006) on the square roots of latencies. Its variances are learnt from
    the known devices, each in turn playing the new one to all the others, by marginal likelihood. For the new device,
    of which too few networks are measured to choose anything by, predictions under each of these settings, their mean
    and two usual ones are averaged, weighted by how likely they make its measurements. Measurements far from what the
    others say count less, by a Student's t noise.

    Args:
        known: the networks; those that are to be predicted among them.
        seed: of the networks that known devices are learnt from.
    """

    def __init__(self, known: KnownNetworks, *, seed: int = 0) -> None:
        self.known = known
        self._devices = list(range(known.source_ms.shape[1]))
        learnt = self._learn(np.random.default_rng(seed))
        typical = [] if len(learnt) == 0 else [learnt.mean(axis=0)]
        self._log_variances = np.array([*learnt, *typical, *np.log(USUAL)])

    def choose(self, num: int, *, among: NDArray[np.integer]) -> list[int]:
        """Return the networks whose measurement tells most about all of them, the most telling first.

        One after the other, each the one that lowers the sum of the posterior variances most (Cohn 1996), whatever the
        measurements will be: to measure half of them first and to weigh the settings by those was no better.

        Args:
            num: fewer are returned where there are fewer to choose from.
            among: rows of the networks that may be measured.
        """
        among = np.asarray(among)
        may_be_chosen = self._is_usual(among)
        if may_be_chosen.sum() < num:
            may_be_chosen[:] = True
        variances = np.exp(self._log_variances).mean(axis=0)
        terms = self.known.covariances(among, among, self._devices)
        covariance = np.tensordot(variances[:-1], terms, 1) + CONSTANT
        found: list[int] = []
        for _ in range(min(num, len(among))):
            gains = (covariance**2).sum(axis=0) / (np.diag(covariance) + variances[-1])
            index = int(np.argmax(np.where(may_be_chosen, gains, -1.0)))
            may_be_chosen[index] = False
            found.append(index)
            column = covariance[:, index]
            covariance = covariance - np.outer(column, column) / (column[index] + variances[-1] + JITTER)
        return [int(row) for row in among[found]]

    def predict_ms(self, measured: Sequence[int], measured_ms: Sequence[float]) -> Array:
        """Return the predicted milliseconds of all known networks, [N], above zero.

        Args:
            measured: rows of two networks or more that were measured on the new device.
            measured_ms: their milliseconds, above zero.

        Raises:
            ValueError: fewer were measured, or a latency is none.
        """
        if len(measured) < 2 or len(measured) != len(measured_ms):
            raise ValueError(f"expected two measured networks or more, found {len(measured)}; measure more")
        if not (np.isfinite(measured_ms).all() and np.min(measured_ms) > 0):
            raise ValueError("expected latencies above zero on the new device, found others; leave those networks out")
        roots = np.sqrt(measured_ms)
        middle = float(np.median(roots))
        scale = float(_positive(roots.std()))
        values = (roots - middle) / scale
        rows, everything = np.asarray(measured), np.arange(len(self.known.source_ms))
        terms = self.known.covariances(rows, rows, self._devices)
        to_all = self.known.covariances(everything, rows, self._devices)
        variances = np.exp(self._log_variances)
        covariances = np.tensordot(variances[:, :-1], terms, 1) + CONSTANT
        doubts = _doubts(covariances.mean(axis=0), float(variances[:, -1].mean()), values)
        covariances += (variances[:, -1:] * doubts + JITTER)[:, :, None] * np.eye(len(values))
        solved = np.linalg.solve(covariances, np.broadcast_to(values[:, None], (*covariances.shape[:2], 1)))[..., 0]
        weights = _likelihoods(covariances, np.asarray(solved, dtype=np.float64), values)
        predicted = np.zeros(len(everything))
        for weight, own, weighted in zip(weights, variances, solved, strict=True):
            predicted += weight * ((np.tensordot(own[:-1], to_all, 1) + CONSTANT) @ weighted)
        least = 0.5 * np.sqrt(np.min(measured_ms))  # a straight line may go below zero beyond the fastest network
        found: Array = np.maximum(middle + scale * predicted, least) ** 2
        return found

    def _learn(self, rng: np.random.Generator) -> Array:
        """Return the logarithms of the variances that suit each known device best, [S, T + 1]; none for one device."""
        if len(self._devices) < 2:
            return np.zeros((0, len(USUAL[0])))
        num = len(self.known.source_ms)
        rows = rng.choice(num, min(num, MOST_TO_LEARN_FROM), replace=False)
        found = []
        for device in self._devices:
            others = [d for d in self._devices if d != device]
            values = self.known.latencies[rows, device]
            values = (values - values.mean()) / _positive(values.std())
            found.append(
                likely_log_variances(self.known.covariances(rows, rows, others), values, np.log(USUAL[0]), CONSTANT)
            )
        return np.array(found)

    def _is_usual(self, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which networks are neither at the ends of the known latencies nor taken for others by one device."""
        mean = self.known.mean[rows]
        unlike = ((self.known.latencies[rows] - mean[:, None]) ** 2).sum(axis=1)
        low, high = np.quantile(mean, [TAIL, 1 - TAIL])
        usual: NDArray[np.bool_] = (mean >= low) & (mean <= high) & (unlike <= np.quantile(unlike, 1 - MOST_UNLIKE))
        return usual


def _doubts(covariance: Array, noise: float, values: Array) -> Array:
    """Return how many times the noise each value has, at least 1: more where it is far from what the others say."""
    doubts = np.ones(len(values))
    for _ in range(NUM_REWEIGHTINGS):
        inverse = np.linalg.inv(covariance + np.diag(noise * doubts + JITTER))
        # Left-out residuals (Rasmussen and Williams 2006, equation 5.12), relative to a usual one.
        residuals = np.abs(inverse @ values / np.diag(inverse))
        usual = max(1.4826 * float(np.median(residuals)), np.sqrt(noise))
        doubts = np.maximum(1.0, (DEGREES + (residuals / usual) ** 2) / (DEGREES + 1))
    return doubts


def _likelihoods(covariances: Array, solved: Array, values: Array) -> Array:
    """Return how likely each setting is, by the likelihood of the values on the scale that makes them likeliest.

    Args:
        covariances: of the values under each setting, their noise included.
        solved: their inverses times the values.
    """
    num = len(values)
    scales = np.maximum(solved @ values / num, JITTER)
    logs = -0.5 * num * np.log(scales) - 0.5 * np.linalg.slogdet(covariances)[1]
    likelihoods: Array = np.exp(logs - logs.max())
    likelihoods /= likelihoods.sum()
    return likelihoods


def _product(features: Array, rows: NDArray[np.integer], others: NDArray[np.integer]) -> Array:
    product: Array = features[rows] @ features[others].T
    return product


def _positive(values: NDArray[np.floating] | np.floating | float) -> Array:
    """Return the values, with 1 instead of zeros: what does not vary is divided by that."""
    values = np.asarray(values, dtype=np.float64)
    return np.where(values > 0, values, 1.0)
