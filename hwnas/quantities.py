"""Quantities as people write them."""

from __future__ import annotations

import re

_PER_MS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "": 1.0}


def parse_ms(text: str | float) -> float:
    """Milliseconds from "20ms", "0.5 s", "800us" or a plain number of milliseconds.

    Raises:
        ValueError: it is none of these, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)(?:e([+-]?\d{1,2}))?\s*(us|µs|ms|s|)\s*", str(text), re.IGNORECASE)
    if not match:
        raise ValueError(f"expected a duration such as 20ms, 0.5s or 800us, got {text!r}")
    number, exponent, unit = match.groups()
    value = float(f"{number}e{exponent or 0}") * _PER_MS[unit.lower()]
    if value <= 0:
        raise ValueError(f"a duration must be above zero, got {text!r}")
    return value


def format_ms(milliseconds: float) -> str:
    """Milliseconds with three significant digits."""
    return f"{milliseconds:.3g} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"
