"""Settings of timing: the device, and the time that it may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profilers.device import Device
from profilers.measurement import Measurement
from profilers.transport import Transport


@dataclass(kw_only=True, slots=True)
class ProfilerSettings:
    """The settings of a profiler.

    Attributes:
        device: threads, cores and deadlines.
        rounds: how many rounds to measure at most.
        least_rounds: rounds before it is asked whether the measurements are enough.
        max_minutes: stop measuring after that long, with the rounds there are.
        seed: order of visits.
        memory_mb: what opened models may take together; None for half of what is available.
        transport: the way to the device's workers; None for what the device says.
        is_settled: asked now and then whether the measurements so far are enough.
        on_progress: told what is done of how much, with "open" or "round" as the first word.
    """

    device: Device
    rounds: int = 60
    least_rounds: int = 0
    max_minutes: float = 60.0
    seed: int = 0
    memory_mb: float | None = None
    transport: Transport | None = None
    is_settled: Callable[[Sequence[Measurement]], bool] = lambda _: False
    on_progress: Callable[[str, int, int], None] = lambda *_: None
