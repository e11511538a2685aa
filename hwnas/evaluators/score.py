"""Scores of architectures, and when the evaluation of one may stop early."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import stdtrit

from hwnas.constraint import latencies
from search_spaces import Architecture

MIN_CHUNKS = 4
"""Chunks evaluated before an evaluation may stop."""

CONFIDENCE = 0.999
"""The confidence, at each chunk, that the rest of the images would not have changed the decision to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The score of an architecture, and those on consecutive chunks of the images that it comes from.

    Attributes:
        value: higher is better.
        chunks: none from evaluators that do not work in chunks; the history calls them parts.
        is_complete: whether all images were looked at; else the score is an estimate.
    """

    value: float
    chunks: tuple[float, ...] = ()
    is_complete: bool = True

    def as_dict(self) -> dict[str, object]:
        """For the history; what there is nothing to say of is left out."""
        told: dict[str, object] = {"score": self.value}
        if self.chunks:
            told["parts"] = list(self.chunks)
        return told if self.is_complete else told | {"complete": False}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Score:
        """From a record of the history."""
        return cls(
            value=float(record["score"]),
            chunks=tuple(record.get("parts", ())),
            is_complete=record.get("complete", True),
        )


Evaluate = Callable[[Sequence[Architecture], Sequence[Score | None]], Iterator[Score]]
"""Scores in the order of the architectures, each as soon as it and those before it are known.

Beside each architecture the baseline that it must reach, or its evaluation stops early; None to look at all images.
"""


def stopped_early(chunks: tuple[float, ...], baseline: Score) -> Score | None:
    """Return the estimated score of an architecture that will not reach its baseline; None where it still may.

    Both are compared on the same images: their differences vary far less than the scores do. One-sided t-test of the
    mean difference, the standard error being that of a sample without replacement of the baseline's chunks. The score
    is the baseline's plus the mean difference, so that easy first images count for nothing.
    """
    num, num_all = len(chunks), len(baseline.chunks)
    if not MIN_CHUNKS <= num < num_all:
        return None
    differences = np.array(chunks) - np.array(baseline.chunks[:num])
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) * np.sqrt((1 - num / num_all) / num)
    if mean + stdtrit(num - 1, CONFIDENCE) * error >= 0:
        return None
    return Score(value=baseline.value + mean, chunks=chunks, is_complete=False)


@dataclass(kw_only=True, slots=True)
class Baselines:
    """Complete scores of a search, to which later architectures are compared.

    One that is worse than `num` others which are no slower, on any device, can be neither among the `num` best under
    any latency nor on the front.

    Attributes:
        num: how many must be better; None for no comparing.
    """

    num: int | None
    _latencies_ms: list[list[float]] = field(default_factory=list)
    _scores: list[Score] = field(default_factory=list)

    def add(self, costs: Mapping[str, float], score: Score) -> None:
        """Remember a network's latency and score, if the score is complete and has chunks."""
        if score.is_complete and score.chunks:
            self._latencies_ms.append(list(latencies(costs).values()))
            self._scores.append(score)

    def of(self, costs: Mapping[str, float]) -> Score | None:
        """Return the `num`-th best of those that are no slower than that, if there are so many."""
        if self.num is None or len(self._scores) < self.num:
            return None
        no_slower = np.flatnonzero((np.array(self._latencies_ms) <= list(latencies(costs).values())).all(axis=1))
        if len(no_slower) < self.num:
            return None
        scores = np.array([self._scores[i].value for i in no_slower])
        nth = int(no_slower[np.argsort(-scores, kind="stable")[self.num - 1]])
        return self._scores[nth]
