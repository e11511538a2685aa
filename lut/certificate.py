"""The errors of a table's predictions, by networks that nothing was fitted to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from scipy.stats import kendalltau

from lut.provenance import STRICT, Count, NotNegative, Share

ROUNDING = 1e-9
"""The largest difference between sums of the same numbers in another order."""

SAME = 1e-4
"""The largest difference of the same figure between versions of the libraries that compute it."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
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
        duplicates_mape: mean difference between networks and their duplicates; None without any. Files call it
            `twins_mape`.

    Raises:
        ValueError: a figure is out of its range, or two of them contradict each other.
    """

    num_networks: Annotated[Count, Field(ge=2)]
    mape: NotNegative
    bias: float
    within_5pct: Share
    within_10pct: Share
    kendall_tau: Annotated[float, Field(ge=-1, le=1)]
    error_std: NotNegative
    repeatability_mape: NotNegative
    duplicates_mape: Annotated[NotNegative | None, Field(alias="twins_mape")] = None

    @model_validator(mode="after")
    def _figures_agree(self) -> Certificate:
        if abs(self.bias) > self.mape + ROUNDING:
            raise ValueError(f"the mean error {self.bias} cannot be more than the mean absolute error {self.mape}")
        if self.within_5pct > self.within_10pct:
            raise ValueError("networks within 5 % are within 10 % too")
        return self

    def is_close_to(self, other: Certificate) -> bool:
        """Return whether both have the same figures, but for rounding."""
        mine, others = asdict(self), asdict(other)
        return all(mine[name] == others[name] or _is_close(mine[name], others[name]) for name in mine)


def _is_close(one: float | None, other: float | None) -> bool:
    return None not in (one, other) and math.isclose(float(one or 0), float(other or 0), rel_tol=SAME, abs_tol=SAME)


def certify(
    predicted_ms: Sequence[float],
    measured_ms: Sequence[float],
    *,
    repeatability_mape: float,
    duplicates_mape: float | None = None,
) -> Certificate:
    """Return the certificate of predictions for networks that were never used to make them.

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
        duplicates_mape=duplicates_mape,
    )
