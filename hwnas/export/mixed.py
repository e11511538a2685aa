"""The precision of each block of a finished network: the fastest that loses no more than is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.artifacts.mixed import AssignedPrecisions, MixedPrecision
from hwnas.measured import Measured
from lut.certificate import Certificate, certify
from lut.precision_fit import fitted_walk
from lut.precision_walk import Assignment, PrecisionWalk, drawn, stretches, with_stretch_in_float
from onnx_models.mixed_int8 import MixedNetwork, Precisions, written
from onnx_models.session import OnnxNetwork

MOST_BLOCKS = 12
"""Blocks of a network; every stretch of them is measured, 78 of 12 blocks."""

NUM_COPIES = 4
"""Times that the network in int8 is measured, as a model of its own each."""

NUM_LEARNT_FROM, NUM_HELD_OUT = 24, 12
"""Random assignments that predictions are learnt from, too, and those that tell how far predictions are off."""

NUM_FINALISTS, MOST_SCORED = 4, 16
"""Assignments of the front that keep the score and are measured, and those that are scored until there are so many."""

NUM_OUTPUTS = 64
"""Calibration images that outputs are compared on."""

Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trial:
    """The ways to tell how good a model is.

    Attributes:
        images: x_NCHW in the model's batch size, on which outputs are compared.
        score: of a network, higher is better.
        measured: latencies of files by name, measured interleaved; the medians where `is_median`, else the percentile
            that the budget is held on.
        say: told what is done.
    """

    images: Sequence[torch.Tensor]
    score: Callable[[Network], float]
    measured: Callable[..., dict[str, Measured]]
    say: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Predicted:
    """The latencies of assignments, as far as they are predicted and measured.

    Attributes:
        held_out: random assignments that nothing was learnt from, with what they were predicted and measured to take.
        repeatability: what repeats of the measurement differ by, relative.
    """

    walk: PrecisionWalk
    held_out: tuple[AssignedPrecisions, ...]
    repeatability: float

    @property
    def errors(self) -> Certificate | None:
        """The errors of the predictions; None where there are too few."""
        if len(self.held_out) < 2:
            return None
        predicted_ms, measured_ms = self._latencies
        return certify([*predicted_ms], [*measured_ms], repeatability_mape=self.repeatability)

    @property
    def within_3pct(self) -> float | None:
        """The share of assignments that is predicted within 3 %."""
        predicted_ms, measured_ms = self._latencies
        return float((np.abs(predicted_ms / measured_ms - 1) <= 0.03).mean()) if len(self.held_out) >= 2 else None

    @property
    def _latencies(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows = [(row.predicted_ms, row.measured_ms) for row in self.held_out]
        predicted_ms, measured_ms = np.array(rows, dtype=np.float64).reshape(-1, 2).T
        return predicted_ms, measured_ms


def predicted_latencies(
    network: MixedNetwork, trial: Trial, *, rng: np.random.Generator, num_held_out: int = NUM_HELD_OUT
) -> Predicted:
    """Return what assignments take, by measuring the network with each stretch of blocks in float and all else in int8.

    Random assignments of several such stretches are measured in the same rounds. Some are learnt from, and the others
    tell how far predictions are off; of networks of so few blocks that there are not enough, half of them each.
    All predictions are differences from the network in int8, which is measured several times over.

    Raises:
        ExportError: one cannot be quantized.
        RunError: one cannot be measured.
    """
    num = len(network.blocks)
    each = [with_stretch_in_float(stretch, num) for stretch in stretches(num)]
    several = drawn(num, num=NUM_LEARNT_FROM + num_held_out, rng=rng)
    num_learnt_from = min(NUM_LEARNT_FROM, len(several) // 2)
    learnt_from, held_out = [*each, *several[:num_learnt_from]], several[num_learnt_from:][:num_held_out]
    num_measured = len(learnt_from) + len(held_out) + 1
    trial.say(f"mixed precision: {num} blocks, measuring {num_measured} assignments of int8 to them")
    in_int8 = network.model((True,) * num)
    copies = {f"int8 {copy}": in_int8 for copy in range(NUM_COPIES)}
    paths = {written(precisions): network.model(precisions) for precisions in (*learnt_from, *held_out)}
    found = trial.measured({**copies, **paths}, is_median=True)
    int8_ms = float(np.mean([found[name].latency_ms for name in copies]))
    learnt_ms = {precisions: found[written(precisions)].latency_ms for precisions in learnt_from}
    walk = fitted_walk(learnt_ms, int8_ms=int8_ms, num_blocks=num)
    rows = [
        AssignedPrecisions(
            precisions=written(precisions),
            predicted_ms=walk.predict_ms(precisions),
            measured_ms=found[written(precisions)].latency_ms,
        )
        for precisions in held_out
    ]
    repeatability = float(np.median([measured.repeatability for measured in found.values()]))
    return Predicted(walk=walk, held_out=tuple(rows), repeatability=repeatability)


def losses_of(network: MixedNetwork, trial: Trial) -> list[float]:
    """Return by how much each block in int8 alone changes the outputs: the mean square, as a share of their own."""
    images = list(trial.images[: max(1, NUM_OUTPUTS // len(trial.images[0]))])
    num = len(network.blocks)
    expected = _outputs(network.model((False,) * num), images)
    scale = float(np.square(expected).mean()) or 1.0
    rows = np.eye(num, dtype=bool).tolist()
    return [float(np.square(_outputs(network.model(tuple(row)), images) - expected).mean()) / scale for row in rows]


def choose_precisions(
    network: MixedNetwork,
    trial: Trial,
    *,
    max_drop: float,
    rng: np.random.Generator,
    num_held_out: int = NUM_HELD_OUT,
) -> tuple[MixedPrecision, Path]:
    """Return the precision of each block, and the file of the network with these.

    Predicts the latency of every assignment, and what it loses by what each of its blocks changes in int8 alone. Of
    the best by both, those around the allowed drop are scored, and the fastest that keep it measured beside float and
    int8. Float is chosen where none of them is faster by more than repeats of the measurement differ.

    Args:
        max_drop: of the score, in its unit.

    Raises:
        ExportError: the network cannot be quantized.
        RunError: it cannot be measured.
    """
    choice = _Choice(network, trial, max_drop)
    predicted = predicted_latencies(network, trial, rng=rng, num_held_out=num_held_out)
    losses = losses_of(network, trial)
    front = predicted.walk.front(losses)
    finalists = choice.finalists(front, losses)
    latencies = choice.measured(finalists)
    chosen, reason = choice.best_of(finalists, latencies, is_float_fastest=not any(front[0].precisions))
    walk, slope = predicted.walk, choice.drop_per_loss(losses)

    def row(point: Assignment) -> AssignedPrecisions:
        return AssignedPrecisions(
            precisions=written(point.precisions),
            predicted_ms=point.ms,
            measured_ms=latencies[point.precisions].latency_ms if point.precisions in latencies else None,
            expected_drop=slope * point.loss,
            score=choice.scores.get(point.precisions),
        )

    found = MixedPrecision(
        blocks=tuple(block.name for block in network.blocks),
        losses=tuple(losses),
        float_stretches_ms=tuple((*stretch, ms) for stretch, ms in walk.float_stretches_ms.items()),
        further_stretch_ms=walk.further_stretch_ms,
        chosen=written(chosen),
        reason=reason,
        in_float=row(Assignment(precisions=choice.in_float, ms=walk.predict_ms(choice.in_float), loss=0.0)),
        in_int8=row(Assignment(precisions=choice.in_int8, ms=walk.int8_ms, loss=sum(losses))),
        front=tuple(map(row, front)),
        held_out=predicted.held_out,
        errors=predicted.errors,
        within_3pct=predicted.within_3pct,
    )
    return found, network.model(chosen)


def _outputs(path: Path, images: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    network = OnnxNetwork(path)
    return np.concatenate([network(x).numpy().reshape(len(x), -1) for x in images]).astype(np.float64)


class _Choice:
    """The scores and latencies of a network's assignments that are known so far."""

    def __init__(self, network: MixedNetwork, trial: Trial, max_drop: float) -> None:
        self._network, self._trial, self._max_drop = network, trial, max_drop
        num = len(network.blocks)
        self.in_float: Precisions = (False,) * num
        self.in_int8: Precisions = (True,) * num
        self.scores: dict[Precisions, float] = {}

    def drop(self, precisions: Precisions) -> float:
        """Return how much lower an assignment's score is than that of float."""
        for each in (self.in_float, precisions):
            if each not in self.scores:
                self.scores[each] = self._trial.score(OnnxNetwork(self._network.model(each)))
        return self.scores[self.in_float] - self.scores[precisions]

    def keeps(self, precisions: Precisions) -> bool:
        """Whether an assignment loses no more than is allowed."""
        return self.drop(precisions) <= self._max_drop + 1e-9

    def drop_per_loss(self, losses: Sequence[float]) -> float:
        """Return how much the score drops for each unit of loss, by what the whole network loses in int8."""
        return max(self.drop(self.in_int8), 0.0) / sum(losses) if sum(losses) > 0 else 0.0

    def finalists(self, front: Sequence[Assignment], losses: Sequence[float]) -> list[Precisions]:
        """Return the fastest of the front that keep the score, as far as they are looked for.

        The search begins a little before the place where they are expected, and takes longer steps the more fail.
        """
        slope = self.drop_per_loss(losses)
        expected = [number for number, point in enumerate(front) if slope * point.loss <= self._max_drop]
        at, step = max(0, expected[0] - 2) if expected else 0, 1
        found: list[Precisions] = []
        for _ in range(MOST_SCORED):
            if at >= len(front) or len(found) == NUM_FINALISTS:
                break
            precisions = front[at].precisions
            if self.keeps(precisions):
                found.append(precisions)
                step = 1
            elif at >= (expected[0] if expected else 0):
                step *= 2
            at += step
        return [precisions for precisions in found if any(precisions)]

    def measured(self, finalists: Sequence[Precisions]) -> dict[Precisions, Measured]:
        """Return the latencies of finalists, of float and of int8, measured in the same rounds."""
        every = list(dict.fromkeys([self.in_float, self.in_int8, *finalists]))
        self._trial.say(f"mixed precision: measuring {len(finalists)} finalists beside float and int8")
        latencies = self._trial.measured({written(p): self._network.model(p) for p in every}, is_median=False)
        return {p: latencies[written(p)] for p in every}

    def best_of(
        self, finalists: Sequence[Precisions], latencies: Mapping[Precisions, Measured], *, is_float_fastest: bool
    ) -> tuple[Precisions, str]:
        """Return the fastest that keeps the score and is faster than float for certain, and why it is that one.

        Args:
            is_float_fastest: whether no assignment is predicted to be faster than float.
        """
        float_ms = latencies[self.in_float].latency_ms
        keeping = {p for p in (*finalists, self.in_int8) if self.keeps(p)}
        if not keeping:
            reason = "int8 in any of them " + ("takes longer" if is_float_fastest else "loses more than is allowed")
            return self.in_float, f"all blocks stay in float: {reason}"
        best = min(keeping, key=lambda p: latencies[p].latency_ms)
        fastest = latencies[best]
        times = f"{fastest.latency_ms:.4g} against {float_ms:.4g} ms"
        if fastest.at_worst_ms >= float_ms:
            reason = "no assignment of int8 is faster than float by more than repeats differ"
            return self.in_float, f"all blocks stay in float: {reason}, {times}"
        drop = f"{self.scores[best]:.2%} against {self.scores[self.in_float]:.2%} on images kept for comparing"
        num = sum(best)
        which = f"{num} of {len(best)} blocks in int8" if num < len(best) else "every block in int8"
        return best, f"{which}: {times} in float, {drop}"
