"""Regression on architectures by a Gaussian process (Rasmussen and Williams 2006)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

MOST_FOR_FITTING = 200
"""Hyperparameters are fitted on as many observations, the best and a spread of the others."""

JITTER = 1e-6

Features = Callable[[NDArray[np.integer]], NDArray[np.float64]]
"""[num, num_decisions] choices to [num, num_features] standardised figures of them."""


Paths = Callable[[NDArray[np.integer]], NDArray[np.bool_]]
"""[num, num_decisions] choices to [num, num_paths] which paths lead through their networks."""


def no_features(rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return [num, 0]."""
    return np.zeros((len(rows), 0))


@dataclass(kw_only=True)
class ChoiceProcess:
    """A Gaussian process over rows of choices, with a length scale per decision.

    The kernel falls exponentially in the weighted number of decisions that differ, exp(-sum of w_i [a_i != b_i]): a
    product of one kernel per decision, so that interactions of any order can be learnt. A second term, a constant plus
    the number of equal choices weighted alike, learns what decisions contribute on their own from few observations; a
    third is linear in features that are known of every row, such as costs. Where networks are graphs a fourth falls
    exponentially in the number of paths that lead through one of two networks alone (paths as White et al. 2021,
    BANANAS, encode them): graphs that compute nearly the same may have hardly a choice in common.

    Attributes:
        num_decisions: columns of the rows.
        features: none by default.
        paths: None where networks are chains.
    """

    num_decisions: int
    features: Features = no_features
    paths: Paths | None = None
    _log: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self._log = self._prior_mean

    def fit(self, rows: NDArray[np.integer], values: NDArray[np.float64]) -> None:
        """Choose the hyperparameters by marginal likelihood, from where the last fit ended.

        Args:
            rows: [num, num_decisions] choices.
            values: [num] standardised observations.
        """
        if len(rows) > MOST_FOR_FITTING:
            order = np.argsort(-values)
            kept = np.unique(
                np.concatenate([order[: MOST_FOR_FITTING // 2], order[:: 2 * len(rows) // MOST_FOR_FITTING]])
            )
            rows, values = rows[kept], values[kept]
        features = self.features(rows)
        differs = (rows[:, None, :] != rows[None, :, :]).astype(np.float64)
        bounds = [(-6.0, 2.0)] * self.num_decisions + [(-4.0, 3.0), (-6.0, 3.0), (-8.0, 3.0), (-9.0, 1.0)]
        found = minimize(
            self._objective,
            self._log,
            args=(differs, features @ features.T, self._path_distance(rows, rows), values),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds if self.paths is None else [*bounds, (-6.0, 3.0), (-4.0, 2.0)],
            options={"maxiter": 25},
        )
        self._log = found.x

    def condition(self, rows: NDArray[np.integer], values: NDArray[np.float64]) -> Posterior:
        """Return the posterior after observing values of rows."""
        covariance = self.covariance(rows, rows)
        _, (_, _, _, noise), _ = self._parts(np.exp(self._log))
        covariance[np.diag_indices_from(covariance)] += noise + JITTER
        factor = cho_factor(covariance, lower=True)
        return Posterior(process=self, rows=rows, lower=np.tril(factor[0]), weights=cho_solve(factor, values))

    def covariance(self, one: NDArray[np.integer], other: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return [num_one, num_other] prior covariances."""
        weights, (product, additive, linear, _), of_paths = self._parts(np.exp(self._log))
        distance = np.zeros((len(one), len(other)))
        equal = np.zeros_like(distance)
        for position, weight in enumerate(weights):
            differs = one[:, position, None] != other[None, :, position]
            distance += weight * differs
            equal += ~differs
        by_choices = product * np.exp(-distance) + additive * equal / self.num_decisions
        covariance: NDArray[np.float64] = by_choices + linear * self.features(one) @ self.features(other).T
        if len(of_paths):
            share, weight = of_paths
            covariance += share * np.exp(-weight * self._path_distance(one, other))
        return covariance

    @property
    def parameters(self) -> tuple[NDArray[np.float64], float, float]:
        """The weights per decision, and the shares of the product and of the additive term."""
        weights, (product, additive, _, _), _ = self._parts(np.exp(self._log))
        return weights, float(product), float(additive)

    def prior_variance(self, rows: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return [num] of each row."""
        _, (product, additive, linear, _), of_paths = self._parts(np.exp(self._log))
        constant = product + additive + of_paths[:1].sum()
        variance: NDArray[np.float64] = constant + linear * (self.features(rows) ** 2).sum(axis=1)
        return variance

    def _parts(self, log: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Divide the hyperparameters, or their gradient.

        Returns:
            The weights per decision; the shares of the product, of the sum and of the features, and the noise; the
            share of the paths and the weight of each, or nothing.
        """
        return log[: self.num_decisions], log[self.num_decisions :][:4], log[self.num_decisions + 4 :]

    def _path_distance(self, one: NDArray[np.integer], other: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return [num_one, num_other] numbers of paths that lead through one of two networks alone; 0 without paths."""
        if self.paths is None:
            return np.zeros((len(one), len(other)))
        of_one, of_other = self.paths(one).astype(np.float64), self.paths(other).astype(np.float64)
        distance: NDArray[np.float64] = of_one.sum(axis=1)[:, None] + of_other.sum(axis=1) - 2 * of_one @ of_other.T
        return distance

    def _objective(
        self,
        log: NDArray[np.float64],
        differs: NDArray[np.float64],
        alike: NDArray[np.float64],
        path_distance: NDArray[np.float64],
        values: NDArray[np.float64],
    ) -> tuple[float, NDArray[np.float64]]:
        """Negative log marginal likelihood with a weak prior on the logarithms, and its gradient.

        Args:
            log: the hyperparameters.
            differs: [num, num, num_decisions] whether choices differ.
            alike: [num, num] products of features.
            path_distance: [num, num] numbers of paths that differ.
            values: [num] observations.
        """
        weights, (product, additive, linear, noise), of_paths = self._parts(np.exp(log))
        by_product = product * np.exp(-differs @ weights)
        by_sum = additive * (1.0 - differs.mean(axis=2))
        by_features = linear * alike
        covariance = by_product + by_sum + by_features
        if len(of_paths):
            share, weight = of_paths
            by_paths = share * np.exp(-weight * path_distance)
            covariance += by_paths
        covariance[np.diag_indices_from(covariance)] += noise + JITTER
        try:
            factor = cho_factor(covariance, lower=True)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(log)
        solved = cho_solve(factor, values)
        inverse = cho_solve(factor, np.eye(len(values)))
        outer = np.outer(solved, solved) - inverse
        gradient = np.concatenate(
            [
                0.5 * weights * np.einsum("ab,abd->d", -outer * by_product, differs),
                0.5 * np.array([(outer * term).sum() for term in (by_product, by_sum, by_features)]),
                [0.5 * noise * np.trace(outer)],
            ]
        )
        if len(of_paths):
            of_shares = [(outer * by_paths).sum(), -(outer * weight * path_distance * by_paths).sum()]
            gradient = np.concatenate([gradient, 0.5 * np.array(of_shares)])
        away = log - self._prior_mean
        value = 0.5 * values @ solved + np.log(np.diag(factor[0])).sum() + 0.5 * (away**2).sum() / PRIOR_VARIANCE
        return float(value), -gradient + away / PRIOR_VARIANCE

    @property
    def _prior_mean(self) -> NDArray[np.float64]:
        """Logarithms, in the order of `_parts`."""
        weights = np.full(self.num_decisions, np.log(1.5 / self.num_decisions))
        of_paths = [] if self.paths is None else [np.log(0.5), np.log(0.3)]
        return np.concatenate([weights, [0.0, -1.0, -1.0, -4.0], of_paths])


PRIOR_VARIANCE = 0.5
"""The prior variance of the logarithms of the hyperparameters, around where they begin."""


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """A process after observations."""

    process: ChoiceProcess
    rows: NDArray[np.integer]
    lower: NDArray[np.float64]
    weights: NDArray[np.float64]

    def mean(self, rows: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return [num] means alone, which take no solving."""
        means: NDArray[np.float64] = self.process.covariance(self.rows, rows).T @ self.weights
        return means

    def predict(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return [num] means and [num] variances without noise."""
        covariance = self.process.covariance(self.rows, rows)
        solved = solve_triangular(self.lower, covariance, lower=True, check_finite=False)
        variance = self.process.prior_variance(rows) - (solved**2).sum(axis=0)
        return covariance.T @ self.weights, np.maximum(variance, 1e-12)

    def joint(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return [num] means and the [num, num] covariance matrix without noise."""
        covariance = self.process.covariance(self.rows, rows)
        solved = solve_triangular(self.lower, covariance, lower=True, check_finite=False)
        return covariance.T @ self.weights, self.process.covariance(rows, rows) - solved.T @ solved
