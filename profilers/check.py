"""Whether a device can be measured, step by step, in seconds even when nothing answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from profilers.device import Device
from profilers.errors import DeviceError, MeasurementError
from profilers.measurement import Model
from profilers.profiler import Profiler
from profilers.remedies import remedy
from profilers.runtime import RUNTIMES, runtime_of

STEP_TIMEOUT_S = 5.0
"""Deadline of each of the few steps."""

STEADY = "latencies are steadier with: cpupower frequency-set -g performance"

HOT_C = 80.0
"""Above this, processors of boards begin to slow themselves down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result of a step.

    Attributes:
        step: what was tested.
        is_good: whether measuring can go on.
        text: what was found.
        remedy: what to do about it, where something is wrong.
    """

    step: str
    is_good: bool
    text: str
    remedy: str = ""


def check_device(device: Device, model: Path) -> Iterator[Finding]:
    """Reach the device, start a worker, and run one model on it; ends at the first step that fails.

    Args:
        model: a small ONNX file; what the device computes from it is compared with this machine.
    """
    is_slow = runtime_of(device.runtime).starts_slowly or device.emulated
    start_s = 2 * STEP_TIMEOUT_S if is_slow else STEP_TIMEOUT_S
    quick = replace(
        device,
        start_timeout_s=min(device.start_timeout_s, start_s),
        open_timeout_s=min(device.open_timeout_s, STEP_TIMEOUT_S),
        visit_timeout_s=min(device.visit_timeout_s, STEP_TIMEOUT_S),
    )
    profiler = Profiler(device=quick, rounds=2)
    try:
        profiler.require_reachable()
    except DeviceError as error:
        fewer = "set fewer threads in the devices file" if device.is_measurable else ""
        yield Finding(step="device", is_good=False, text=str(error), remedy=fewer)
        return
    except MeasurementError as error:
        yield Finding(step="reach", is_good=False, text=str(error), remedy=remedy(device))
        return
    yield Finding(step="reach", is_good=True, text="here" if device.is_here else "answers")
    with TemporaryDirectory() as folder:
        try:
            result = profiler.measure([Model(key="block", path=model)], Path(folder) / "check.journal")
        except MeasurementError as error:
            yield Finding(step="run one block", is_good=False, text=str(error), remedy=remedy(device))
            return
    about = result.worker
    versions = ", ".join(f"{name} {about[name]}" for name in (*RUNTIMES, "python") if about.get(name))
    told = [versions, str(about.get("cpu_model") or about.get("target") or "")]
    yield Finding(step="worker", is_good=True, text="; ".join(filter(None, told)) or "answers")
    yield from _machine({**about, **result.health})
    (measurement,) = result.measurements
    is_compared = runtime_of(device.runtime).comparison != "none"
    result_in_words = "computes what this machine computes" if is_compared else "runs, compared with nothing"
    yield Finding(
        step="run one block",
        is_good=True,
        text=f"{result_in_words}, {measurement.median_ms:.3f} ms",
    )


def _machine(about: Mapping[str, Any]) -> Iterator[Finding]:
    governor, temperature, free_mb = (about.get(name) for name in ("governor", "temperature_c", "free_mb"))
    if governor is not None:
        yield Finding(
            step="clock",
            is_good=True,
            text=f"governor {governor}",
            remedy="" if governor == "performance" else STEADY,
        )
    if temperature is not None:
        yield Finding(
            step="temperature",
            is_good=temperature < HOT_C,
            text=f"{temperature:.0f} degrees Celsius",
            remedy="" if temperature < HOT_C else "cool it: it slows itself down",
        )
    if free_mb is not None:
        yield Finding(step="memory", is_good=True, text=f"{free_mb:.0f} MB free")
