"""The precision of each block of a network, and how it was chosen."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.records import READ_IN_PART
from lut.certificate import Certificate

Letters = Annotated[str, Field(pattern="^[fi]+$")]
"""A letter for each block in order: `i` in int8, `f` in float."""

_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class AssignedPrecisions:
    """An assignment of precisions to blocks, and its figures.

    Attributes:
        predicted_ms: the median latency that is expected.
        measured_ms: of the percentile that the budget is held on; None where it was not measured.
        expected_drop: of the score, by what each of its blocks changes alone.
        score: on images that neither calibrated nor test; None where it was not told.
    """

    precisions: Letters
    predicted_ms: float
    measured_ms: float | None = None
    expected_drop: float = 0.0
    score: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class MixedPrecision:
    """The precision of each block of a network, and what it was chosen from.

    Attributes:
        blocks: names, in the order they run.
        losses: what each block in int8 alone changes the outputs by: the mean square, as a share of the outputs' own.
        float_stretches_ms: the first block of a stretch, the first after it, and how much more the network takes with
            that stretch in float and all else in int8, as learnt from all that was measured.
        further_stretch_ms: what each stretch in float after the first takes besides.
        chosen: all `f` where no assignment is faster than float and loses no more than is allowed.
        reason: why that one.
        in_float, in_int8: the network in float, and with every block in int8.
        front: what no other assignment is predicted to be as fast as and lose as little as, the fastest first.
        held_out: random assignments that nothing was learnt from, with their predicted and measured medians.
        errors: of the predictions for those; None of networks of so few blocks that there are not two.
        within_3pct: the share of those that is predicted within 3 %.
    """

    blocks: tuple[str, ...]
    losses: tuple[float, ...]
    float_stretches_ms: tuple[tuple[int, int, float], ...]
    chosen: Letters
    reason: str
    in_float: AssignedPrecisions
    in_int8: AssignedPrecisions
    front: tuple[AssignedPrecisions, ...]
    held_out: tuple[AssignedPrecisions, ...] = ()
    errors: Certificate | None = None
    within_3pct: _Share | None = None
    further_stretch_ms: float = 0.0

    @property
    def is_mixed(self) -> bool:
        """Whether some blocks are in int8 and others in float."""
        return len(set(self.chosen)) == 2

    @property
    def certificate(self) -> str:
        """Return how far predictions are off, in words."""
        if self.errors is None or self.within_3pct is None:
            return "too few assignments to tell the error of predictions"
        errors = self.errors
        return (
            f"{errors.num_networks} random assignments predicted with {errors.mape:.1%} mean error, "
            f"{self.within_3pct:.0%} within 3 %; repeatability {errors.repeatability_mape:.1%}"
        )
