"""The precision that a training computes in, measured where it is to be chosen."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

LEAST_GAIN = 0.05
"""The share of a step's time that bfloat16 must save to be chosen: less is within what timings differ by."""

ROUNDS = 3
"""Steps that are timed in each precision, in turns, after one of each that is not."""


def step_times_s(step: Callable[[bool], object], device: torch.device) -> tuple[float, float]:
    """Return the median seconds of a training step in float32 and in bfloat16.

    Args:
        step: makes one, in bfloat16 where its argument is true.
    """
    times_s: dict[bool, list[float]] = {False: [], True: []}
    for number in range(1 + ROUNDS):
        for is_mixed, kept in times_s.items():
            elapsed_s = _timed_s(step, is_mixed, device)
            if number:
                kept.append(elapsed_s)
    return statistics.median(times_s[False]), statistics.median(times_s[True])


def pays(float_s: float, mixed_s: float) -> bool:
    """Return whether steps in bfloat16 are enough faster than those in float32."""
    return mixed_s < (1.0 - LEAST_GAIN) * float_s


def _timed_s(step: Callable[[bool], object], is_mixed: bool, device: torch.device) -> float:
    started = time.perf_counter()
    step(is_mixed)
    if device.type == "cuda":
        torch.cuda.synchronize()  # its kernels run on
    return time.perf_counter() - started
