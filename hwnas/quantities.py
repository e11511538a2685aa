"""Quantities as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize, image_size

MEDIAN = 50
"""The percentile of which nothing is said, as `profilers.tails` has it: that is slow to import for a command's help."""


def parse_ms(text: str | float) -> float:
    """Return the milliseconds in "20ms", "0.5 s" or "800us".

    Raises:
        RequestError: it is none of these, has no unit, or is not positive.
    """
    expected = "a duration such as 20ms, 0.5s or 800us (or a share such as 60%)"
    if re.fullmatch(r"\s*[\d.]+(e[+-]?\d+)?\s*", str(text).lower()):
        raise RequestError(f"expected {expected}, got {str(text)!r}: did you mean {str(text).strip()}ms?")
    return _scaled(text, {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}, expected)


def parse_count(text: str | float) -> float:
    """Return the number in "3M", "600k", "1.5G" or a plain number, in steps of 1000.

    Raises:
        RequestError: it is none of these, or not positive.
    """
    return _scaled(text, {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}, "a number such as 3M, 600k or 1.5G")


def parse_bytes(text: str | float) -> float:
    """Return the bytes in "64MB", "512 KiB" or a plain number of bytes; MB are 1000 and MiB 1024 steps.

    Raises:
        RequestError: it is none of these, or not positive.
    """
    units = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
    return _scaled(text, units, "a size such as 64MB or 512KiB")


def parse_mj(text: str | float) -> float:
    """Return the millijoules in "5mJ", "0.1 J", "800uJ" or a plain number of millijoules.

    Raises:
        RequestError: it is none of these, or not positive.
    """
    return _scaled(text, {"uj": 1e-3, "µj": 1e-3, "mj": 1.0, "j": 1e3, "": 1.0}, "an energy such as 5mJ or 0.1J")


SIZES = (4, 4096)
"""The least and the most pixels a side of the images of a run."""

USUAL_SIZE = 224
"""Pixels a side of images of which nothing says another size."""


def parse_image_size(text: object) -> ImageSize:
    """Return the size in "224", "128x256" (height and width), 224 or [128, 256].

    Raises:
        RequestError: it is none of these, or out of range.
    """
    sides = text if isinstance(text, list | tuple) else str(text).lower().split("x")
    low, high = SIZES
    try:
        numbers = [int(str(side)) for side in sides]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(low <= number <= high for number in numbers):
        raise RequestError(
            f"expected pixels a side from {low} to {high}, or height and width such as 128x256, got {text!r}"
        )
    return image_size(numbers[0], numbers[-1])


BUDGET_KEPT = {True: "yes", False: "no", None: "by prediction"}
"""Whether a network keeps its budget, in a word; None where nothing was measured."""


def counted(number: int, noun: str) -> str:
    """Return a number of things in words: 1 network, 2 networks."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def share(part: float, whole: float) -> float:
    """Return how much of the whole the part is, in 0 to 1: accuracies and the like."""
    assert 0 <= part <= whole and whole > 0, f"expected a part of {whole}, got {part}"
    return part / whole


def _scaled(text: str | float, units: Mapping[str, float], expected: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)(?:e([+-]?\d{1,2}))?\s*([a-zµ]*)\s*", str(text).lower())
    if not match or match[3] not in units:
        raise RequestError(f"expected {expected}, got {text!r}")
    value = float(f"{match[1]}e{match[2] or 0}") * units[match[3]]
    if value <= 0:
        raise RequestError(f"expected {expected} above zero, got {text!r}")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """A latency limit: in milliseconds, or as a share of what the slowest architecture of the space takes.

    Where a network was brought, the share is of what that network takes. All of it rules nothing out, however long the
    slowest turns out to take when it is measured.

    Raises:
        RequestError: neither or both are given, or the share is not above 0 and at most 1.
    """

    milliseconds: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.milliseconds is None) == (self.share is None):
            raise RequestError("a budget is either milliseconds or a share")
        if self.share is not None and not 0 < self.share <= 1:
            raise RequestError(f"a share must be above 0 % and at most 100 %, got {100 * self.share:g} %")

    @classmethod
    def parse(cls, text: str | float) -> Budget:
        """Return the budget written as 20ms, 0.5s, 800us or 60%.

        Raises:
            ValueError: it is none of these.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*%\s*", str(text))
        return cls(share=float(match[1]) / 100) if match else cls(milliseconds=parse_ms(text))

    def resolve_ms(self, whole_ms: float) -> float:
        """Return the limit in milliseconds where shares are of that latency."""
        if self.milliseconds is not None:
            return self.milliseconds
        assert self.share is not None
        return self.share * whole_ms


def budget_text(max_ms: float | None, unit: str = "") -> str:
    """Return a limit with four significant digits, as a text; "none" where nothing is ruled out."""
    return "none" if max_ms is None or math.isinf(max_ms) else f"{max_ms:.4g}{unit}"


def format_ms(milliseconds: float, percentile: int = MEDIAN) -> str:
    """Return milliseconds with three significant digits, as a text that says of which percentile they are.

    Args:
        percentile: of the latency; nothing is said of the median.
    """
    if math.isinf(milliseconds):
        return "any latency"
    text = f"{milliseconds:.3g} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"
    return text if percentile == MEDIAN else f"{text} (p{percentile})"


def ms_column(percentile: int) -> str:
    """Return the heading of milliseconds of a percentile; nothing is said of the median."""
    return "ms" if percentile == MEDIAN else f"p{percentile} ms"


def parse_percentile(value: int) -> int:
    """Return the percentile where it is one that budgets can be held on.

    Raises:
        RequestError: it is another.
    """
    from profilers.tails import PERCENTILES

    if value not in PERCENTILES:
        raise RequestError(f"expected one of the percentiles {', '.join(map(str, PERCENTILES))}, got {value!r}")
    return value


def ceil_ms(milliseconds: float) -> float:
    """Return milliseconds rounded up to two significant digits."""
    step = 10.0 ** (math.floor(math.log10(milliseconds)) - 1)
    return math.ceil(milliseconds / step) * step
