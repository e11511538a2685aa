"""Numbers of visits: one integer that tells which restart of the worker a visit was in, and when since then.

A worker is started, opens its models, measures rounds and is ended: what lies between is a restart, counted from 0.
Tables keep one number for each sample, `restart * VISITS_PER_RESTART + place`, `place` being that of the visit among
all since the worker was started; so the numbers of all samples are in the order of time.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

VISITS_PER_RESTART = 1_000_000

MAX_VISIT = 2**53
"""The number that numbers of visits stay below, so that every runtime can hold them."""


def visit_of(restart: int, place: int = 0) -> int:
    """Return the number of a visit."""
    return restart * VISITS_PER_RESTART + place


def restart_of(visits: ArrayLike) -> NDArray[np.int64]:
    """Return the restart that each visit was in."""
    return np.asarray(visits, dtype=np.int64) // VISITS_PER_RESTART


def place_of(visits: ArrayLike) -> NDArray[np.int64]:
    """Return the place of each visit among those of its restart."""
    return np.asarray(visits, dtype=np.int64) % VISITS_PER_RESTART


def moved(visits: Iterable[int], restarts: int) -> tuple[int, ...]:
    """Return the numbers of the same visits that many restarts later."""
    return tuple(visit + visit_of(restarts) for visit in visits)
