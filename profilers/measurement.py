"""A model to be timed, and what measuring it gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from onnx_models.external_data import content_hash
from profilers.visits import MAX_VISIT, moved, restart_of

DAY_NS = 86_400 * 10**9
"""No run of a model takes a day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """Every raw sample of one model, or why there is none.

    Attributes:
        key: the model's name in the pool.
        visits: number of each sample's visit, which tells the restart of the worker and the place in it
            (`profilers/visits.py`); time order.
        wall_ns: wall-clock nanoseconds of each sample.
        cpu_ns: CPU nanoseconds of the timing thread during each sample.
        first_ns: wall-clock nanoseconds of the first run of each visit, after other models have had the caches; empty
            where the worker does not tell.
        error: why the model could not be measured.

    Raises:
        ValueError: samples and error together, or neither; columns of different length; visits out of order or twice;
            a time that is below zero, or zero where it cannot be, or longer than a day.
    """

    key: str
    visits: tuple[int, ...] = ()
    wall_ns: tuple[int, ...] = ()
    cpu_ns: tuple[int, ...] = ()
    first_ns: tuple[int, ...] = ()
    error: str | None = None

    def __post_init__(self) -> None:
        if not len(self.visits) == len(self.wall_ns) == len(self.cpu_ns):
            raise ValueError(f"{self.key}: visits, wall_ns and cpu_ns must be equally long")
        if len(self.first_ns) not in (0, len(self.wall_ns)):
            raise ValueError(f"{self.key}: first_ns must be as long as wall_ns, or empty")
        if (self.error is None) != bool(self.wall_ns):
            raise ValueError(f"{self.key}: expected either samples or an error")
        require_visits(self.key, self.visits)
        require_times(self.key, wall_ns=(*self.wall_ns, *self.first_ns), cpu_ns=self.cpu_ns)

    @property
    def restarts(self) -> tuple[int, ...]:
        """The restart of the worker that each sample is of, counted from 0."""
        return tuple(restart_of(self.visits).tolist())

    def moved(self, restarts: int) -> Measurement:
        """Return the same samples that many restarts later."""
        return replace(self, visits=moved(self.visits, restarts))

    def joined(self, other: Measurement) -> Measurement:
        """Return the samples of both, of which `other` has the later visits, or of the one that did not fail."""
        if self.error is not None or other.error is not None:
            return other if self.error is not None else self
        return Measurement(
            key=self.key,
            visits=self.visits + other.visits,
            wall_ns=self.wall_ns + other.wall_ns,
            cpu_ns=self.cpu_ns + other.cpu_ns,
            first_ns=self.first_ns + other.first_ns if self.first_ns and other.first_ns else (),
        )

    @property
    def num_samples(self) -> int:
        """The number of samples that were taken."""
        return len(self.wall_ns)

    @property
    def median_ms(self) -> float:
        """Plain median of the wall-clock samples in milliseconds, drift included; NaN without samples."""
        return float(np.median(self.wall_ns)) / 1e6 if self.wall_ns else float("nan")

    @property
    def spread(self) -> float:
        """Interquartile range over median of the wall-clock samples; NaN without samples."""
        if not self.wall_ns:
            return float("nan")
        low, middle, high = np.quantile(self.wall_ns, (0.25, 0.5, 0.75))
        return float((high - low) / middle)


def require_visits(owner: str, visits: Sequence[int]) -> None:
    """Raise ValueError unless visits are ascending numbers from 0 on, none of them twice."""
    if any(later <= earlier for earlier, later in pairwise(visits)):
        raise ValueError(f"{owner}: visits must be in ascending order, none twice")
    if visits and not 0 <= visits[0] <= visits[-1] < MAX_VISIT:
        raise ValueError(f"{owner}: visits must be from 0 to {MAX_VISIT - 1}, got {visits[0]} to {visits[-1]}")


def require_times(owner: str, *, wall_ns: Sequence[int], cpu_ns: Sequence[int]) -> None:
    """Raise ValueError unless wall-clock times are above zero, CPU times not below, and all shorter than a day."""
    if not all(0 < ns < DAY_NS for ns in wall_ns):
        raise ValueError(f"{owner}: wall-clock times must be positive, and below a day")
    if not all(0 <= ns < DAY_NS for ns in cpu_ns):
        raise ValueError(f"{owner}: CPU times must not be negative, and below a day")


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """An ONNX file to be timed, and the name it goes by."""

    key: str
    path: Path

    @property
    def sha256(self) -> str:
        """Hash of the file, and of those that hold its weights."""
        return content_hash(self.path)
