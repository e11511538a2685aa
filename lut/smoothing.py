"""Latencies smoothed by the choices that networks are made of, by a Gaussian process.

N networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve
from scipy.optimize import minimize

Array = NDArray[np.float64]

SMOOTHING_DECAY = 1.0
SMOOTHING = (0.1, 0.3, 0.3, 0.1)
"""Prior variances by which known latencies are smoothed, relative to theirs: of what falls with the decisions that
differ, of what is linear in choices and in their numbers, and of noise. The first falls slowly: among networks that
differ in most decisions, what falls fast could not be told from noise."""

MOST_TO_SMOOTH_BY = 300
"""Networks that the settings are learnt from by which known latencies are smoothed."""

PRIOR_STD = 1.5
"""Prior standard deviation of the logarithms of variances around the first of the usual ones."""

CONSTANT = 1.0
"""Prior variance of the mean."""

JITTER = 1e-8


class Smoothing:
    """A Gaussian process from choices to latencies that are known of all networks.

    The covariance falls with the decisions in which networks differ, by as much for each decision as the latencies
    make likeliest (Rasmussen and Williams 2006, section 5.1), and is linear in choices and in their numbers besides.

    Args:
        choices: [N, num_decisions].
        num_of_choice: [N, num_choices], standardised.
    """

    def __init__(self, choices: NDArray[np.integer], num_of_choice: Array) -> None:
        self._choices, self._num_of_choice = choices, num_of_choice
        num_decisions = choices.shape[1]
        self._prior = np.log([SMOOTHING_DECAY / num_decisions] * num_decisions + [*SMOOTHING])

    def smoothed(self, values: Array) -> Array:
        """Return the posterior mean of the values, [N]."""
        num = len(values)
        rows = np.random.default_rng(0).choice(num, min(num, MOST_TO_SMOOTH_BY), replace=False)
        logs = self._likely_logs(rows, values[rows])
        covariance = sum(self._terms(logs, np.arange(num))) + CONSTANT
        noisy = covariance + (np.exp(logs[-1]) + JITTER) * np.eye(num)
        smoothed: Array = covariance @ solve(noisy, values, assume_a="pos")
        return smoothed

    def _terms(self, logs: Array, rows: NDArray[np.integer]) -> tuple[Array, Array, Array]:
        """Return the terms of the covariance between networks: falling, linear in choices, and in their numbers."""
        num_decisions = self._choices.shape[1]
        falling, linear = np.zeros((len(rows), len(rows))), np.zeros((len(rows), len(rows)))
        for decay, column in zip(np.exp(logs[:num_decisions]), self._choices[rows].T, strict=True):
            is_same = column[:, None] == column
            falling -= decay * ~is_same
            linear += is_same / num_decisions
        by_same, by_choice, by_number = np.exp(logs[num_decisions:-1])
        counts = self._num_of_choice[rows]
        return by_same * np.exp(falling), by_choice * linear, by_number * (counts @ counts.T)

    def _likely_logs(self, rows: NDArray[np.integer], values: Array) -> Array:
        """Return the logarithms of the settings that are likeliest given the values and the prior, noise last."""
        differs = [column[:, None] != column for column in self._choices[rows].T]

        def objective(logs: Array) -> tuple[float, Array]:
            terms = self._terms(logs, rows)
            by_decay = [-decay * terms[0] * each for decay, each in zip(np.exp(logs), differs, strict=False)]
            noise = float(np.exp(logs[-1]))
            covariance = sum(terms) + (noise + JITTER) * np.eye(len(rows)) + CONSTANT
            return posterior(logs, self._prior, covariance, [*by_decay, *terms], noise, values)

        return minimized(objective, self._prior, num_steps=30)


def likely_log_variances(terms: Sequence[Array] | Array, values: Array, prior: Array, constant: float = 0.0) -> Array:
    """Return the logarithms of the variances of terms and noise that are likeliest given the values and the prior.

    Args:
        terms: of the covariance between the values, each with a variance of its own to be found.
        prior: logarithms around which they are sought, that of the noise last.
        constant: the variance of the mean, which is known.
    """

    def objective(logs: Array) -> tuple[float, Array]:
        variances = np.exp(logs)
        slopes = variances[:-1, None, None] * np.asarray(terms)
        covariance = slopes.sum(axis=0) + (variances[-1] + JITTER) * np.eye(len(values)) + constant
        return posterior(logs, prior, covariance, slopes, variances[-1], values)

    return minimized(objective, prior, num_steps=60)


def posterior(
    logs: Array, prior: Array, covariance: Array, slopes: Sequence[Array] | Array, noise: float, values: Array
) -> tuple[float, Array]:
    """Return the negative logarithm of the settings' posterior density, and its gradient (Rasmussen and Williams 2006,
    equation 5.9).

    Args:
        logs: of the settings; the noise is the last.
        covariance: of the values, the noise included.
        slopes: its derivatives by the other settings.
    """
    lower = np.linalg.cholesky(covariance)
    inverse = cho_solve((lower, True), np.eye(len(values)))
    solved = inverse @ values
    away = (logs - prior) / PRIOR_STD
    inner = inverse - np.outer(solved, solved)
    gradient = 0.5 * np.array([*(float((slope * inner).sum()) for slope in slopes), noise * np.trace(inner)])
    value = 0.5 * values @ solved + np.log(np.diag(lower)).sum() + 0.5 * away @ away
    return float(value), gradient + away / PRIOR_STD


def minimized(objective: Callable[[Array], tuple[float, Array]], start: Array, *, num_steps: int) -> Array:
    """Return the settings that an objective, which gives its gradient too, is lowest at, sought from a start."""
    bounds = [(-12.0, 4.0)] * len(start)
    found: Array = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": num_steps}
    ).x
    return found
