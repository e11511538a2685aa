"""The machine's speed now, compared with when the run's table was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hwnas.errors import RequestError
from hwnas.profiling import NO_REFERENCES, describe_drift, onnx_cache, shown
from hwnas.stages.setup import Setup
from lut import LatencyModel, LatencyTable
from lut.references import References, choose_references, is_plausible
from profilers import Profiler
from profilers.estimate import estimate_ms
from profilers.result import ProfileResult
from profilers.session import ROUNDS_PER_RESTART

SCALED = 0.05
"""Predictions are left alone where the machine is faster or slower by no more: the same seed finds the same network."""

FEW_ROUNDS = (ROUNDS_PER_RESTART, 3 * ROUNDS_PER_RESTART)
"""The second only where the first say that something has changed."""

SAME_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""What Windows and macOS call processors' architectures, and Linux's names for the same."""

REMEDY = "give it a name of its own in a devices file, and make its table with that --device"


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


def time_references(setup: Setup, then: LatencyModel, near_ms: float) -> Speed:
    """Time a few of the table's models for seconds, and say where the machine has changed.

    Raises:
        MeasurementError: the device cannot be measured.
        RequestError: the table is of another machine.
    """
    references = _chosen(setup, then.table, near_ms)
    if not references.models:
        return Speed()
    drift: float | None = None
    with TemporaryDirectory() as scratch:
        for rounds in FEW_ROUNDS:
            now = _timed(setup, references, Path(scratch) / "speed.journal", rounds)
            if rounds == FEW_ROUNDS[0]:
                _compare_machines(setup, then, now.worker)
            drift = references.drift(estimate_ms(now.measurements))
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


def _timed(setup: Setup, references: References, journal: Path, rounds: int) -> ProfileResult:
    with shown(setup.reporter, "speed", rounds) as on_progress:
        profiler = Profiler(device=setup.device, rounds=rounds, seed=setup.seed, on_progress=on_progress)
        return profiler.measure(references.models, journal)


def _compare_machines(setup: Setup, then: LatencyModel, worker: Mapping[str, object]) -> None:
    """Refuse a table of another architecture, and warn of one that was made on another model of processor.

    The model alone may change on the same device: a virtual machine is moved to another host. What a worker does not
    tell is not compared.

    Args:
        worker: what the device's worker tells of its machine now.

    Raises:
        RequestError: the architectures differ.
    """
    device, told = setup.device.name, then.table.provenance.worker
    made_on, is_now = _architecture(told), _architecture(worker)
    if made_on and is_now and made_on != is_now:
        raise RequestError(
            f"{then.name}: expected a table of {device}, which is {is_now}, found one that was made on {made_on}, on "
            f"another machine: {REMEDY}"
        )
    made_on, is_now = _cpu_model(told), _cpu_model(worker)
    if made_on and is_now and made_on != is_now:
        setup.reporter.warn(
            f"{then.name} was made on {made_on}, {device} is {is_now} now: where {device} is a virtual machine that "
            f"was moved, its predictions are scaled by how fast it is; where that was another machine, {REMEDY}"
        )


def _architecture(worker: Mapping[str, object]) -> str:
    """Return the processor's architecture as Linux calls it; nothing where it is not told."""
    name = str(worker.get("machine") or "").lower()
    return SAME_ARCHITECTURES.get(name, name)


def _cpu_model(worker: Mapping[str, object]) -> str:
    """Return the processor's model; nothing where it is not told."""
    name = str(worker.get("cpu_model") or "")
    return "" if name == "unknown" else name
