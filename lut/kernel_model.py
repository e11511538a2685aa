"""Predictions for any ONNX model from a table of kernels, and how far they are off."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lut.certificate import Certificate, certify
from lut.kernel_regression import KernelRegression
from lut.kernel_table import KernelTable, split_half_error
from lut.overhead import fit_overhead
from onnx_models.kernels import Kernel

FEWEST_MODELS = 3
"""Models that a certificate is made of at least: each is predicted by the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedKernel:
    """A kernel of a model and what it is predicted to take; whether the table has it, or the regression tells."""

    kernel: Kernel
    ms: float
    is_known: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Holds what a model is predicted to take, kernel by kernel in the order that they run."""

    kernels: tuple[PredictedKernel, ...]

    @property
    def latency_ms(self) -> float:
        """Milliseconds of a forward pass."""
        return sum(predicted.ms for predicted in self.kernels)

    @property
    def known_share(self) -> float:
        """Share of that time in kernels that the table has."""
        known_ms = sum(predicted.ms for predicted in self.kernels if predicted.is_known)
        return known_ms / self.latency_ms if self.latency_ms > 0 else 0.0

    @property
    def strange_kinds(self) -> tuple[str, ...]:
        """Kinds of kernels that are predicted and not looked up, in alphabetical order."""
        return tuple(sorted({predicted.kernel.kind for predicted in self.kernels if not predicted.is_known}))


class KernelModel:
    """Predicts models by the kernels of a table: those that it has by what they took, others by a regression.

    Args:
        models: numbers of the table's models to learn from; None for all.
    """

    def __init__(self, table: KernelTable, models: Collection[int] | None = None) -> None:
        chosen = sorted(range(len(table.models)) if models is None else models)
        wholes = [table.wholes[place] for place in chosen]
        self.overhead = table.overhead if models is None else fit_overhead(wholes)
        times_ms = table.kernel_ms(chosen, self.overhead)
        kernels = [table.kernels[number] for number in times_ms]
        self._known_ms = {kernel.key: ms for kernel, ms in zip(kernels, times_ms.values(), strict=True)}
        self._regression = KernelRegression(kernels, list(times_ms.values()))
        self.kinds = frozenset(kernel.kind for kernel in kernels)

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        """Return what a model of those kernels is predicted to take."""
        guessed_ms = self._regression.predict_ms(kernels).tolist()
        return Prediction(
            kernels=tuple(
                PredictedKernel(kernel=k, ms=self._known_ms.get(k.key, guess), is_known=k.key in self._known_ms)
                for k, guess in zip(kernels, guessed_ms, strict=True)
            )
        )


def predicted_without(table: KernelTable, left_out: Collection[int]) -> list[float]:
    """Return what models of the table are predicted to take by all other models, in the order of `left_out`."""
    model = KernelModel(table, set(range(len(table.models))) - set(left_out))
    return [
        model.predict([table.kernels[node.kernel] for node in table.models[place].nodes]).latency_ms
        for place in left_out
    ]


def certified(table: KernelTable) -> KernelTable:
    """Return the table with the errors of predictions for each of its models by all others, where there are enough."""
    if len(table.models) < FEWEST_MODELS:
        return replace(table, certificate=None)
    predicted = [predicted_without(table, [place])[0] for place in range(len(table.models))]
    return replace(table, certificate=_certificate(table, predicted))


def _certificate(table: KernelTable, predicted_ms: Sequence[float]) -> Certificate:
    return certify(
        predicted_ms,
        [whole.plain_ms for whole in table.wholes],
        repeatability_mape=float(np.mean([split_half_error(model) for model in table.models])),
    )
