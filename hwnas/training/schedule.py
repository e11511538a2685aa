"""Learning rates over a training: a warm-up, and what follows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from hwnas.config import TrainingConfig

ONE_CYCLE_RISE = 0.3
ONE_CYCLE_FIRST, ONE_CYCLE_LAST = 1 / 25, 1 / 250_000
"""The share of a one-cycle schedule that rises, and its first and last rate as shares of the highest, as in torch."""


def _cosine(epoch: float, warmup: float, epochs: int) -> float:
    """Half a cosine from 1 to zero after a linear warm-up (Loshchilov and Hutter 2017)."""
    if epoch < warmup:
        return _warming_up(epoch, warmup)
    return _half_cosine((epoch - warmup) / (epochs - warmup))


def _constant(epoch: float, warmup: float, _epochs: int) -> float:
    """The same rate all along, after a linear warm-up."""
    return _warming_up(epoch, warmup) if epoch < warmup else 1.0


def _one_cycle(epoch: float, _warmup: float, epochs: int) -> float:
    """Half a cosine up, and another down to almost zero (Smith and Topin 2019); its rise is its warm-up."""
    progress = epoch / epochs
    if progress < ONE_CYCLE_RISE:
        return 1.0 + (ONE_CYCLE_FIRST - 1.0) * _half_cosine(progress / ONE_CYCLE_RISE)
    return ONE_CYCLE_LAST + (1.0 - ONE_CYCLE_LAST) * _half_cosine((progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))


SCHEDULES: Mapping[str, Callable[[float, float, int], float]] = {
    "cosine": _cosine,
    "one-cycle": _one_cycle,
    "constant": _constant,
}
"""Shares of the learning rate by name: of the epoch, which may be between two, those of the warm-up, and all."""


def learning_rate(config: TrainingConfig, epoch: float) -> float:
    """Return the rate of a training by its schedule; a warm-up takes half of the epochs at most.

    Args:
        epoch: may be between two.
    """
    warmup = min(config.warmup_epochs, config.epochs / 2)
    return config.learning_rate * SCHEDULES[config.schedule](epoch, warmup, config.epochs)


def _warming_up(epoch: float, warmup: float) -> float:
    return (epoch + 1e-2) / (warmup + 1e-2)


def _half_cosine(progress: float) -> float:
    """Return what falls from 1 to 0 as the progress goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
