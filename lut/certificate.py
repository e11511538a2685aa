"""How wrong a table's predictions are, by networks that nothing was fitted to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from scipy.stats import kendalltau


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid", ser_json_inf_nan="constants"))
class Certificate:
    """Errors of predicted against measured latencies, relative to the measured.

    Attributes:
        num_networks: held-out networks.
        mape: mean absolute error.
        bias: mean error; above zero where predictions are too high.
        within_5pct, within_10pct: share of networks predicted that well.
        kendall_tau: rank correlation.
        error_std: standard deviation of the error around the bias.
        repeatability_mape: mean difference between the same networks' estimates from odd and from even rounds.
        twins_mape: mean difference between two sessions of the same bytes; None without twins.
    """

    num_networks: int
    mape: float
    bias: float
    within_5pct: float
    within_10pct: float
    kendall_tau: float
    error_std: float
    repeatability_mape: float
    twins_mape: float | None = None


def certify(
    predicted_ms: Sequence[float],
    measured_ms: Sequence[float],
    *,
    repeatability_mape: float,
    twins_mape: float | None = None,
) -> Certificate:
    """The certificate of predictions for networks that were never used to make them.

    Raises:
        ValueError: there are fewer than two networks.
    """
    if len(measured_ms) < 2:
        raise ValueError(f"a certificate needs at least two held-out networks, got {len(measured_ms)}")
    predicted, measured = np.asarray(predicted_ms), np.asarray(measured_ms)
    errors = predicted / measured - 1
    tau = float(kendalltau(predicted, measured).statistic)
    return Certificate(
        num_networks=len(measured),
        mape=float(np.abs(errors).mean()),
        bias=float(errors.mean()),
        within_5pct=float((np.abs(errors) <= 0.05).mean()),
        within_10pct=float((np.abs(errors) <= 0.10).mean()),
        kendall_tau=0.0 if math.isnan(tau) else tau,
        error_std=float(errors.std()),
        repeatability_mape=repeatability_mape,
        twins_mape=twins_mape,
    )
