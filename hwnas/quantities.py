"""Quantities as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PER_MS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "": 1.0}


def parse_ms(text: str | float) -> float:
    """Milliseconds from "20ms", "0.5 s", "800us" or a plain number of milliseconds.

    Raises:
        ValueError: it is none of these, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)(?:e([+-]?\d{1,2}))?\s*(us|µs|ms|s|)\s*", str(text), re.IGNORECASE)
    if not match:
        raise ValueError(f"expected a duration such as 20ms, 0.5s or 800us (or a share such as 60%), got {text!r}")
    number, exponent, unit = match.groups()
    value = float(f"{number}e{exponent or 0}") * _PER_MS[unit.lower()]
    if value <= 0:
        raise ValueError(f"a duration must be above zero, got {text!r}")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """A latency limit: in milliseconds, or as a share of what the slowest architecture of the space takes.

    Raises:
        ValueError: neither or both are given, or the share is not between 0 and 1.
    """

    milliseconds: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.milliseconds is None) == (self.share is None):
            raise ValueError("a budget is either milliseconds or a share")
        if self.share is not None and not 0 < self.share < 1:
            raise ValueError(f"a share must be above 0 % and below 100 %, got {100 * self.share:g} %")

    @classmethod
    def parse(cls, text: str | float) -> Budget:
        """The budget written as 20ms, 0.5s, 800us, a plain number of milliseconds, or 60%.

        Raises:
            ValueError: it is none of these.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*%\s*", str(text))
        return cls(share=float(match[1]) / 100) if match else cls(milliseconds=parse_ms(text))

    def resolve_ms(self, slowest_ms: float) -> float:
        """The limit in milliseconds for a space whose slowest architecture takes that long."""
        if self.milliseconds is not None:
            return self.milliseconds
        assert self.share is not None
        return self.share * slowest_ms


def format_ms(milliseconds: float) -> str:
    """Milliseconds with three significant digits."""
    return f"{milliseconds:.3g} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"
