"""Interleaved visits of made-up models on a machine that something slows down."""

from __future__ import annotations

import numpy as np

from profilers import Measurement

NUM_MODELS = 30


def simulate(disturbance: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[Measurement]]:
    """True milliseconds, and measurements of interleaved visits slowed down by a factor per visit."""
    true_ms = rng.uniform(0.05, 2.0, NUM_MODELS)
    rounds = len(disturbance) // NUM_MODELS
    orders = np.concatenate([rng.permutation(NUM_MODELS) for _ in range(rounds)])
    wall_ns = true_ms[orders] * 1e6 * disturbance[: len(orders)] * rng.normal(1, 0.003, len(orders))
    return true_ms, [
        Measurement(
            key=str(model),
            visits=tuple(np.flatnonzero(orders == model).tolist()),
            wall_ns=tuple(int(ns) for ns in wall_ns[orders == model]),
            cpu_ns=(1,) * rounds,
        )
        for model in range(NUM_MODELS)
    ]
