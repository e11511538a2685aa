"""The one table of what numeric flags may be, shared by all commands; those of settings are the configuration's."""

from __future__ import annotations

import math
from typing import Any

import typer

from hwnas.errors import RequestError

RANGES: dict[str, tuple[float, float]] = {
    "batch": (1, 4096),
    "blocks": (1, 100_000),
    "channels": (1, 1024),
    "classes": (1, 1_000_000),
    "input_size": (4, 4096),
    "listed": (0, 1_000_000),
    "max_boxes": (1, 10_000),
    "max_drop": (0, 100),
    "max_iou": (0, 1),
    "max_minutes": (0.1, 1_000_000),
    "memory_mb": (1, 100_000_000),
    "min_score": (0, 0.999),
    "networks": (0, 2000),
    "networks_to_adapt": (10, 2000),
    "networks_to_verify": (2, 2000),
    "percentile": (50, 99),
    "port": (1, 65535),
    "port_or_any": (0, 65535),
    "port_with_next": (1, 65534),
    "rounds": (2, 10_000),
    "seed": (0, 2**32 - 1),
    "step": (1, 1024),
    "threads": (1, 1024),
    "trials": (1, 100_000),
    "width": (0.05, 16),
}


def ranged(name: str, words: str) -> Any:
    """Return a flag for a number in the table's range of that name, with that help."""
    low, high = RANGES[name]
    return number_option(min=low, max=high, help=words)


def require_in_range(name: str, value: float) -> None:
    """Make sure of a number what the flag of that name makes sure of.

    Raises:
        RequestError: it is none, or out of range.
    """
    low, high = RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RequestError(f"{name}: expected a number from {low} to {high}, got {value!r}")


def number_option(*names: str, **settings: Any) -> Any:
    """Return a flag for a number, which NaN is not though no comparison keeps it out of a range."""
    return typer.Option(*names, callback=_finite, **settings)


def _finite(value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise typer.BadParameter("expected a number, got nan")
    return value
