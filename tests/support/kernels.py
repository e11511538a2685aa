"""Kernels and tables of them, sampled from a machine that is a formula."""

from __future__ import annotations

import numpy as np

from lut.kernel_table import KernelTable, ProfiledModel, RanKernel
from onnx_models.kernels import Kernel
from profilers.events import RunTimes

NODE_US = 3.0
"""What the profiler adds to each node of the samples."""

SETTINGS = {"name": "cpu", "runtime": "onnxruntime", "threads": 1, "cores": None, "batch": 1}
WORKER = {"onnxruntime": "1.20", "machine": "x86_64", "cpu_model": "simulated"}


def convolution(channels: int, *, out: int = 32, size: int = 16, window: int = 3) -> Kernel:
    """A dense convolution of square images with padding."""
    pixels = size * size
    return Kernel(
        key=f"Conv(in=1x{channels}x{size}x{size},out=1x{out}x{size}x{size},k={window}x{window})",
        macs=pixels * out * channels * window**2,
        weight_bytes=4 * out * channels * window**2,
        input_bytes=4 * channels * pixels,
        output_bytes=4 * out * pixels,
        in_channels=channels,
        out_channels=out,
        group_channels=channels,
        window=window**2,
        stride=1,
        pixels=pixels,
        num_inputs=1,
    )


def true_ms(kernel: Kernel) -> float:
    """What a kernel takes on the machine: a fixed time, moving and computing."""
    return 0.002 + kernel.moved_bytes / 40e6 + kernel.macs / 30e6


def sampled_table(models: dict[str, list[Kernel]], *, visits: int = 20, noise: float = 0.01) -> KernelTable:
    """A table, without a certificate, of models that ran on that machine, which slows down by a fifth on the way."""
    rng = np.random.default_rng(0)
    kernels = list({kernel.key: kernel for own in models.values() for kernel in own}.values())
    numbers = {kernel.key: number for number, kernel in enumerate(kernels)}
    slowness = np.where(np.arange(visits) < visits // 2, 1.0, 1.2)

    def times(ms: float) -> np.ndarray:
        return ms * slowness * (1 + noise * rng.standard_normal(visits))

    def ran(name: str, own: list[Kernel]) -> ProfiledModel:
        nodes = [np.round(1e3 * times(true_ms(k)) + NODE_US).astype(int) for k in own]
        whole = np.round(1e6 * times(sum(map(true_ms, own)))).astype(int)
        runs = RunTimes(wall_ns=tuple(whole.tolist()), cpu_ns=tuple(whole.tolist()))
        return ProfiledModel(
            name=name,
            sha256="0" * 64,
            nodes=tuple(
                RanKernel(kernel=numbers[k.key], us=tuple(us.tolist())) for k, us in zip(own, nodes, strict=True)
            ),
            plain=runs,
            profiled=runs,
        )

    return KernelTable(
        device=SETTINGS,
        worker=WORKER,
        date="2026-01-31T12:00:00+00:00",
        visits=visits,
        kernels=tuple(kernels),
        models=tuple(ran(name, own) for name, own in models.items()),
    )


def some_models(num: int = 6, *, depth: int = 12) -> dict[str, list[Kernel]]:
    """Models of convolutions that have some kernels in common."""
    rng = np.random.default_rng(1)

    def drawn() -> Kernel:
        channels, out, size = (int(rng.choice(values)) for values in ((16, 32, 48, 64), (16, 32, 64), (8, 16, 32)))
        return convolution(channels, out=out, size=size, window=int(rng.choice((1, 3, 5))))

    return {f"m{number}.onnx": [drawn() for _ in range(depth)] for number in range(num)}
