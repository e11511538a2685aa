"""What a program's own functions say that networks are worth."""

from __future__ import annotations

import math
from collections.abc import Callable

from hwnas.errors import RequestError, RunError
from search_spaces import Architecture

Score = Callable[[Architecture], float]
"""Tells how good an architecture is; higher is better, and the same architecture always gets the same score."""


def finite_score(found: object, name: str) -> float:
    """Return the number that a function gave as the score of a network of that name.

    Raises:
        RunError: it is no finite number, which could be neither ranked nor written down.
    """
    try:
        score = float(found)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor of several numbers
        score = math.nan
    if not math.isfinite(score):
        raise RunError(
            f"score of {name}: expected a finite number, got {found!r}; give what cannot work a low one, such as -1e9"
        )
    return score


def require_callable(function: object, name: str, *, may_be_left_out: bool = True) -> None:
    """Raise RequestError unless an argument of that name is a function, or is left out where it may be."""
    if not callable(function) and not (function is None and may_be_left_out):
        raise RequestError(f"expected a function as {name}, got {function!r}")


class OwnScore:
    """Scores architectures by a function of the program."""

    def __init__(self, score: Score) -> None:
        self._score = score

    def score(self, architecture: Architecture) -> float:
        """Return the function's score.

        Raises:
            RunError: it is no finite number.
        """
        return finite_score(self._score(architecture), "-".join(map(str, architecture)))
