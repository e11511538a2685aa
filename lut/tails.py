"""Tail percentiles of whole networks: how they follow from medians on the device of a table, and how well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from lut.calibration import MIN_NETWORKS
from lut.certificate import Certificate, certify
from lut.model import predict_ms
from lut.networks import NetworkMeasurement, Role
from lut.table import LatencyTable
from profilers import Measurement
from profilers.tails import LEAST_RUNS, TAILS, percentile_name, split_half_tail_error, tail_ms
from search_spaces import SearchSpace, SpaceError

LEAST_RUNS_IN_TABLES: Mapping[int, int] = {95: 20, 99: 100}
"""The runs of each network of a table that its percentiles are told of: one is longer on average. A single one of them
is not much to go by; a certificate is the mean over some thirty networks."""


def least_rounds(percentile: int) -> int:
    """Return the rounds that a table takes for its certificate of a percentile; 0 for the median."""
    return LEAST_RUNS_IN_TABLES.get(percentile, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tail:
    """A percentile of a network's latency, from its median: percentile = scale x median + extra.

    Attributes:
        percentile: 95 or 99.
        scale: how much longer everything takes in such a run: at least 1.
        extra_ms: what is added to a network of any length, such as an interrupt: at least 0.
        num_networks, num_runs: for calibration, that scale and extra were learnt from.
        covered: share of the held-out networks' runs that were no longer than this percentile of theirs as predicted;
            the percentile itself where predictions are right.
        certificate: errors of predicted against measured percentiles of held-out networks, those of the predicted
            medians included; None where networks have too few runs each for it.
    """

    percentile: int
    scale: float
    extra_ms: float
    num_networks: int
    num_runs: int
    covered: float
    certificate: Certificate | None

    @property
    def name(self) -> str:
        """The percentile's name, such as p95."""
        return percentile_name(self.percentile)

    def of_medians(self, median_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return [num_networks] milliseconds of the percentile, from predicted medians."""
        return self.scale * median_ms + self.extra_ms

    def median_of(self, ms: float) -> float:
        """Return the median of a network whose percentile is that; above zero whatever it is."""
        return max((ms - self.extra_ms) / self.scale, 1e-3 * ms)


def tail_of(table: LatencyTable, space: SearchSpace, percentile: int) -> Tail | None:
    """Return how a percentile follows from the medians of networks; None where too little was measured to tell.

    Learnt from the runs of the networks for calibration, and checked on the held-out ones. A table whose medians have
    no certificate has none for its tails either.

    Raises:
        SpaceError: a network of the table is none of the space.
    """
    if table.certificate is None:
        return None
    networks, held_out = (_measured(table, role) for role in ("calibration", "held_out"))
    if min(_num_runs(networks), _num_runs(held_out)) < LEAST_RUNS[percentile] or len(networks) < MIN_NETWORKS:
        return None
    medians_ms = [table.estimates_ms[m.key] for m in _measurements(networks)]
    scale, extra_ms = quantile_line(_measurements(networks), medians_ms, percentile)
    predicted_ms = predict_ms(table, space, np.array([n.architecture for n in held_out]))
    if np.isnan(predicted_ms).any():
        return None
    predicted = scale * predicted_ms + extra_ms
    runs = zip(_measurements(held_out), predicted, strict=True)
    return Tail(
        percentile=percentile,
        scale=scale,
        extra_ms=extra_ms,
        num_networks=len(networks),
        num_runs=_num_runs(networks),
        covered=float(np.mean(np.concatenate([np.array(m.wall_ns) <= 1e6 * ms for m, ms in runs]))),
        certificate=_certificate(_measurements(held_out), predicted, percentile),
    )


def tails_of(table: LatencyTable, space: SearchSpace) -> dict[int, Tail]:
    """Return what is known of each tail percentile; nothing where a network of the table is none of the space."""
    try:
        found = {percentile: tail_of(table, space, percentile) for percentile in TAILS}
    except SpaceError:
        return {}
    return {percentile: tail for percentile, tail in found.items() if tail is not None}


def network_tails_ms(measurement: Measurement) -> dict[int, float | None]:
    """Return the tail percentiles of a network of a table in milliseconds; None where it has too few runs to tell."""
    return {
        percentile: tail_ms(measurement, percentile) if measurement.num_samples >= least else None
        for percentile, least in LEAST_RUNS_IN_TABLES.items()
    }


def quantile_line(
    measurements: Sequence[Measurement], medians_ms: Sequence[float], percentile: int
) -> tuple[float, float]:
    """Return scale and extra milliseconds such that so many runs in a hundred take at most scale x median + extra.

    A linear quantile regression (Koenker and Bassett 1978) of each run over its network's median, so that a network of
    a millisecond counts as much as one of twenty. It needs no percentile of any single network: those of few runs are
    lotteries. What is solved is its dual, which has one bounded variable a run.

    Args:
        medians_ms: of the networks, in the order of the measurements.
    """
    lengths, typical_ms = [m.num_samples for m in measurements], float(np.median(medians_ms))
    own_ms = np.repeat(medians_ms, lengths)
    # Beyond a scale of 1, so that both coefficients are at least 0.
    longer = np.concatenate([m.wall_ns for m in measurements]) / 1e6 / own_ms - 1.0
    columns = np.stack([np.ones_like(own_ms), typical_ms / own_ms])
    share_longer = 1.0 - percentile / 100
    solved = linprog(-longer, A_ub=columns, b_ub=share_longer * columns.sum(axis=1), bounds=(0.0, 1.0), method="highs")
    if not solved.success:  # numbers that no machine gives
        return 1.0 + max(0.0, float(np.percentile(longer, percentile))), 0.0
    scale, extra = np.maximum(0.0, -solved.ineqlin.marginals)
    return 1.0 + float(scale), float(extra) * typical_ms


def _measured(table: LatencyTable, role: Role) -> list[NetworkMeasurement]:
    """Return the networks of a role; what calibrates does not certify too, as in tables that were merged."""
    calibrating = {n.architecture for n in table.networks if n.role == "calibration"}
    return [
        n
        for n in table.networks
        if n.role == role
        and n.measurement.num_samples >= 2
        and (role == "calibration" or n.architecture not in calibrating)
    ]


def _measurements(networks: Sequence[NetworkMeasurement]) -> list[Measurement]:
    return [n.measurement for n in networks]


def _num_runs(networks: Sequence[NetworkMeasurement]) -> int:
    return sum(n.measurement.num_samples for n in networks)


def _certificate(
    held_out: Sequence[Measurement], predicted_ms: NDArray[np.float64], percentile: int
) -> Certificate | None:
    least = LEAST_RUNS_IN_TABLES[percentile]
    known = [(m, ms) for m, ms in zip(held_out, predicted_ms.tolist(), strict=True) if m.num_samples >= least]
    if len(known) < 2:
        return None
    return certify(
        [ms for _, ms in known],
        [tail_ms(m, percentile) for m, _ in known],
        repeatability_mape=float(np.mean([split_half_tail_error(m, percentile) for m, _ in known])),
    )
