"""The widths that a group of channels offers, and what a user has stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

from search_spaces.errors import SpaceError
from search_spaces.traced.groups import Group

SHARES = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
"""Shares of the channels that are offered."""

STEP = 8
"""Channels that widths are multiples of: kernels of runtimes work on so many at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pins:
    """Says what stays as it is, and which widths are offered.

    Attributes:
        freeze: patterns of names of modules, such as `layer1` or `layer1.*`; all that is in them stays too.
        shares: of the channels that are offered.
        step: channels that widths are multiples of.

    Raises:
        SpaceError: they are no patterns, no shares, or no number of channels.
    """

    freeze: tuple[str, ...] = ()
    shares: tuple[float, ...] = SHARES
    step: int = STEP

    def __post_init__(self) -> None:
        if not all(isinstance(pattern, str) for pattern in self.freeze):
            raise SpaceError(f"freeze has to be patterns of names, got {self.freeze!r}; write such as layer1.*")
        if not all(type(share) in (int, float) and 0 <= share <= 1 for share in self.shares):
            raise SpaceError(f"shares have to be numbers from 0 to 1, got {self.shares!r}; write such as 0.5")
        if type(self.step) is not int or self.step < 1:
            raise SpaceError(f"step has to be a whole number of channels above 0, got {self.step!r}; write such as 8")

    def holds(self, name: str) -> bool:
        """Return whether what has that name stays as it is: it, or a module that it is in, matches a pattern."""
        parts = name.split(".")
        names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return any(fnmatchcase(n, pattern) for pattern in self.freeze for n in names)


def widths(group: Group, pins: Pins, *, least: int = 1) -> tuple[int, ...]:
    """Return the numbers of units of a group to choose from, all of them first.

    Args:
        least: units that have to be kept.
    """
    if any(pins.holds(name) for name in group.layers):
        return (len(group.units),)
    whole, size = len(group.units), group.unit_size
    found = {whole}
    for share in pins.shares:
        channels = max(pins.step, round(share * whole * size / pins.step) * pins.step)
        units = max(1, round(channels / size))
        if (units < whole and (units * size) % pins.step == 0) or (size >= pins.step and units < whole):
            found.add(units)
    return tuple(sorted((units for units in found if units >= min(least, whole)), reverse=True))


def steps_alike(offered: Mapping[int, Sequence[int]]) -> list[int]:
    """Return which group takes its next width, step by step, so that all are as near to one share as what is offered.

    At a share midway between two of its widths a group is as near to both. Of groups that are midway at the same share
    the last takes the smaller first, so that networks lie as closely as the widths let them.

    Args:
        offered: the widths of each group, all of its channels first, by its place in the network.
    """
    steps = [((wider + other) / own[0], group) for group, own in offered.items() for wider, other in pairwise(own)]
    return [group for _, group in sorted(steps, reverse=True)]
