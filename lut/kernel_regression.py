"""What kernels take that were never measured, from those of the same kind that were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lut.roofline import FLOOR_MS, fit_roofline
from onnx_models.kernels import Kernel

FEWEST = 12
"""Kernels of a kind that are enough to learn more of it than the plain model says."""

NUM_TREES, DEPTH, RATE, SUBSAMPLE = 200, 3, 0.05, 0.7
"""Of the gradient-boosted trees: many shallow ones, so that single kernels are not learnt by heart."""


class KernelRegression:
    """Predicts kernels by a plain model of all of them, and by what kernels of their kind differ from it.

    What each kind differs by is learnt by gradient-boosted trees of the ratio, so that beyond what was measured the
    plain model goes on where trees would stand still.
    """

    def __init__(self, kernels: Sequence[Kernel], times_ms: Sequence[float]) -> None:
        self._roofline = fit_roofline(kernels, times_ms)
        self._trees: Mapping[str, Any] = {
            kind: self._grown([(k, ms) for k, ms in zip(kernels, times_ms, strict=True) if k.kind == kind])
            for kind in sorted({kernel.kind for kernel in kernels})
        }

    def predict_ms(self, kernels: Sequence[Kernel]) -> NDArray[np.float64]:
        """Return what kernels take, [num_kernels] milliseconds."""
        plain_ms = np.array([self._roofline.kernel_ms(kernel) for kernel in kernels])
        ratios = np.array([self._log_ratio(kernel) for kernel in kernels])
        found: NDArray[np.float64] = plain_ms * np.exp(ratios)
        return found

    def _log_ratio(self, kernel: Kernel) -> float:
        known = self._trees.get(kernel.kind, 0.0)
        return known if isinstance(known, float) else float(known.predict([_features(kernel)])[0])

    def _grown(self, measured: Sequence[tuple[Kernel, float]]) -> Any:
        """Return trees of the logarithm of measured over plain times; its median where there are few kernels."""
        from sklearn.ensemble import GradientBoostingRegressor

        ratios = np.log([max(ms, FLOOR_MS) / self._roofline.kernel_ms(kernel) for kernel, ms in measured])
        if len(measured) < FEWEST:
            return float(np.median(ratios))
        trees = GradientBoostingRegressor(
            n_estimators=NUM_TREES, max_depth=DEPTH, learning_rate=RATE, subsample=SUBSAMPLE, random_state=0
        )
        return trees.fit([_features(kernel) for kernel, _ in measured], ratios)


def _features(kernel: Kernel) -> list[float]:
    """Return what the time of a kernel may depend on, in logarithms."""
    sizes = (
        *(kernel.macs, kernel.weight_bytes, kernel.input_bytes, kernel.output_bytes),
        *(kernel.in_channels, kernel.out_channels, kernel.group_channels),
        *(kernel.window, kernel.stride, kernel.pixels, kernel.in_channels // kernel.group_channels),
    )
    intensity = kernel.macs / max(1, kernel.moved_bytes)
    return [*np.log1p(sizes).tolist(), float(np.log1p(intensity)), float(kernel.num_inputs), _cost(kernel.activation)]


def _cost(activation: str) -> float:
    """Return 0 without an activation, 1 for one that compares, 2 for one that calculates."""
    return 0.0 if not activation else 1.0 if activation in ("Relu", "Clip", "LeakyRelu") else 2.0
