"""The results of measuring and of inspecting models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from profilers.measurement import Measurement
from profilers.pace import Pace


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """The result of inspecting a model: what a runtime makes of it.

    Attributes:
        operations: of the optimised graph, in the order they run.
        fallbacks: those of them that the device's accelerator leaves to the CPU.
        operation_us: the microseconds that each of them takes alone; empty where the runtime does not tell.
        energy_mj: of one run, in millijoules, everything included that the processor does; None where the device has no
            counter that may be read.
    """

    operations: tuple[str, ...]
    fallbacks: tuple[str, ...] = ()
    operation_us: tuple[float, ...] = ()
    energy_mj: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileResult:
    """The results of measuring.

    Attributes:
        measurements: in the order of the models.
        worker: what the worker said of itself and its machine.
        health: temperature and free memory of the machine when the last worker was started, where it tells.
        num_rounds: rounds that every group of models was measured for.
        num_throttled: rounds that were repeated, since the device was throttled during them.
        num_groups: groups that the models were split into because all together do not fit in memory.
        stopped_by: "settled", "rounds" or "minutes".
        inference_s: time the worker spent in rounds, in seconds.
        pace: of a fixed piece of work during the rounds and after them; None where the worker tells none.
    """

    measurements: tuple[Measurement, ...]
    worker: Mapping[str, object]
    health: Mapping[str, object]
    num_rounds: int
    num_groups: int
    num_throttled: int
    stopped_by: str
    inference_s: float
    pace: Pace | None = None
