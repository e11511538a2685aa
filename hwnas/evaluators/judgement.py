"""Judgements of evaluators on architectures, and the test of when one need not be looked at any longer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import stdtrit

from search_spaces import Architecture

MIN_PARTS = 4
"""Parts seen before an architecture may be given up."""

CONFIDENCE = 0.999
"""The confidence, at each part, that the rest of the images would not have changed the decision to give up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """A score, and the scores on consecutive parts of the images that it comes from.

    Attributes:
        parts: none from evaluators that do not work in parts.
        is_complete: whether all images were looked at; else the score is an estimate.
    """

    score: float
    parts: tuple[float, ...] = ()
    is_complete: bool = True

    def as_dict(self) -> dict[str, object]:
        """For the history; what there is nothing to say of is left out."""
        told: dict[str, object] = {"score": self.score}
        if self.parts:
            told["parts"] = list(self.parts)
        return told if self.is_complete else told | {"complete": False}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Judgement:
        """From a record of the history."""
        return cls(
            score=float(record["score"]),
            parts=tuple(record.get("parts", ())),
            is_complete=record.get("complete", True),
        )


Judge = Callable[[Sequence[Architecture], Sequence[Judgement | None]], Iterator[Judgement]]
"""Judgements in the order of the architectures, each as soon as it and those before it are known.

Beside each architecture its rival, which it is given up against; None to look at all there is.
"""


def given_up(parts: tuple[float, ...], rival: Judgement) -> Judgement | None:
    """The judgement on an architecture that will not reach its rival's score; None where it still may.

    Both are compared on the same images: their differences vary far less than the scores do. One-sided t-test of the
    mean difference, the standard error being that of a sample without replacement of the rival's parts. The score is
    the rival's plus the mean difference, so that easy first images count for nothing.
    """
    num, num_all = len(parts), len(rival.parts)
    if not MIN_PARTS <= num < num_all:
        return None
    differences = np.array(parts) - np.array(rival.parts[:num])
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) * np.sqrt((1 - num / num_all) / num)
    if mean + stdtrit(num - 1, CONFIDENCE) * error >= 0:
        return None
    return Judgement(score=rival.score + mean, parts=parts, is_complete=False)


@dataclass(kw_only=True, slots=True)
class Rivals:
    """Complete judgements of a search, to which later architectures are compared.

    One that is worse than `num` others which are no slower can be neither among the `num` best under any latency nor on
    the front.

    Attributes:
        num: how many must be better; None for no comparing.
    """

    num: int | None
    _latencies_ms: list[float] = field(default_factory=list)
    _judgements: list[Judgement] = field(default_factory=list)

    def add(self, costs: Mapping[str, float], judgement: Judgement) -> None:
        """Remember a network's latency and judgement, if the judgement is complete and has parts."""
        if judgement.is_complete and judgement.parts:
            self._latencies_ms.append(costs["latency_ms"])
            self._judgements.append(judgement)

    def of(self, costs: Mapping[str, float]) -> Judgement | None:
        """The `num`-th best of those that are no slower than that, if there are so many."""
        if self.num is None or len(self._judgements) < self.num:
            return None
        no_slower = np.flatnonzero(np.array(self._latencies_ms) <= costs["latency_ms"])
        if len(no_slower) < self.num:
            return None
        scores = np.array([self._judgements[i].score for i in no_slower])
        nth = int(no_slower[np.argsort(-scores, kind="stable")[self.num - 1]])
        return self._judgements[nth]
