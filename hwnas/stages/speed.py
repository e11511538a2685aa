"""The machine's speed now, compared with when the run's table was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hwnas.profiling import NO_REFERENCES, describe_drift, onnx_cache, shown
from hwnas.stages.setup import Setup
from lut import LatencyTable
from lut.references import References, choose_references, is_plausible
from profilers import Profiler
from profilers.estimate import estimate_ms
from profilers.session import ROUNDS_PER_RESTART

SCALED = 0.05
"""Predictions are left alone where the machine is faster or slower by no more: the same seed finds the same network."""

FEW_ROUNDS = (ROUNDS_PER_RESTART, 3 * ROUNDS_PER_RESTART)
"""The second only where the first say that something has changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """The outcome of timing the table's references before the search.

    Attributes:
        drift: how many times as long they took; None where the table has none, or is another machine's by the looks.
    """

    drift: float | None = None

    @property
    def slow_down(self) -> float:
        """The factor that predictions are multiplied by."""
        return 1.0 if self.drift is None or abs(self.drift - 1) <= SCALED else self.drift


def time_references(setup: Setup, table: LatencyTable, near_ms: float) -> Speed:
    """Time a few of the table's models for seconds, and say where the machine has changed.

    Raises:
        MeasurementError: the device cannot be measured.
    """
    references = _chosen(setup, table, near_ms)
    if not references.models:
        return Speed()
    drift: float | None = None
    with TemporaryDirectory() as scratch:
        for rounds in FEW_ROUNDS:
            drift = references.drift(_now_ms(setup, references, Path(scratch) / "speed.journal", rounds))
            if drift is None or abs(drift - 1) <= SCALED or not is_plausible(drift):
                break
    if drift is not None and not is_plausible(drift):
        setup.reporter.warn(
            f"the table's own models now take {drift:.3g} times as long as it says: it looks like another machine's; "
            "its predictions are taken as they are, and measured latencies decide"
        )
        return Speed()
    speed = Speed(drift=drift)
    if speed.slow_down != 1.0:
        setup.reporter.line(
            f"the machine is {describe_drift(speed.slow_down)} than when the table was made: predictions are "
            f"multiplied by {speed.slow_down:.3g}"
        )
    return speed


def references_of(setup: Setup, table: LatencyTable, near_ms: float, speed: Speed) -> References:
    """Return the models to be timed beside networks of about that latency; none where they would not tell anything."""
    return NO_REFERENCES if speed.drift is None else _chosen(setup, table, near_ms / speed.slow_down)


def _chosen(setup: Setup, table: LatencyTable, near_ms: float) -> References:
    return choose_references(table, setup.space, onnx_cache(), near_ms=near_ms)


def _now_ms(setup: Setup, references: References, journal: Path, rounds: int) -> Mapping[str, float]:
    with shown(setup.reporter, "speed", rounds) as on_progress:
        profiler = Profiler(device=setup.device, rounds=rounds, seed=setup.seed, on_progress=on_progress)
        return estimate_ms(profiler.measure(references.models, journal).measurements)
