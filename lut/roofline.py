"""A plain model of what kernels cost: a fixed time each, and more per byte and per multiply-accumulate.

After the roofline model (Williams, Waterman and Patterson 2009), with a sum in place of the maximum of moving and
computing: on a CPU core the two overlap only in part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from onnx_models.kernels import Kernel

FLOOR_MS = 5e-4
"""A kernel that takes less counts as one that takes so long: the profiler's clock ticks in microseconds."""

MEGA = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Roofline:
    """Tells what kernels cost on a device.

    Attributes:
        fixed_ms: of each kernel.
        weight_ms, activation_ms: per megabyte of weights, and of activations read and written.
        mac_ms: per million multiply-accumulates, by the kind of kernel; that of "" is for kinds never seen.
    """

    fixed_ms: float
    weight_ms: float
    activation_ms: float
    mac_ms: Mapping[str, float] = field(default_factory=dict)

    def kernel_ms(self, kernel: Kernel) -> float:
        """Return what a kernel is expected to take, above zero."""
        rate_ms = self.mac_ms.get(kernel.kind, self.mac_ms.get("", 0.0))
        return max(FLOOR_MS, self.fixed_ms + self._moving_ms(kernel) + rate_ms * kernel.macs / MEGA)

    def total_ms(self, kernels: Sequence[Kernel]) -> float:
        """Return what kernels are expected to take together."""
        return sum(map(self.kernel_ms, kernels))

    def memory_ms(self, kernels: Sequence[Kernel]) -> float:
        """Return the part of it that goes with the bytes that they move."""
        return sum(map(self._moving_ms, kernels))

    def _moving_ms(self, kernel: Kernel) -> float:
        activations = kernel.input_bytes + kernel.output_bytes
        return (self.weight_ms * kernel.weight_bytes + self.activation_ms * activations) / MEGA


def fit_roofline(kernels: Sequence[Kernel], times_ms: Sequence[float]) -> Roofline:
    """Return the model that explains the kernels with the least relative errors, every coefficient at least zero."""
    kinds = sorted({kernel.kind for kernel in kernels if kernel.macs})
    design = np.stack([_row(kernel, kinds) for kernel in kernels])
    measured = np.maximum(np.asarray(times_ms, dtype=np.float64), FLOOR_MS)
    # Halfway between relative and absolute errors: small kernels are many, large ones make the sum.
    weights = 1 / np.sqrt(measured)
    values, _ = nnls(design * weights[:, None], measured * weights)
    fixed_ms, weight_ms, activation_ms, *rates = (float(value) for value in values)
    typical = float(np.median(rates)) if rates else 0.0
    return Roofline(
        fixed_ms=fixed_ms,
        weight_ms=weight_ms,
        activation_ms=activation_ms,
        mac_ms={**dict(zip(kinds, rates, strict=True)), "": typical},
    )


def _row(kernel: Kernel, kinds: Sequence[str]) -> NDArray[np.float64]:
    moved = [kernel.weight_bytes / MEGA, (kernel.input_bytes + kernel.output_bytes) / MEGA]
    return np.array([1.0, *moved, *(kernel.macs / MEGA * (kernel.kind == kind) for kind in kinds)])
