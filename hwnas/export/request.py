"""What a bundle is made of, and what it is to have."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from hwnas.artifacts import Summary
from hwnas.errors import RequestError
from hwnas.stages.setup import Setup
from hwnas.stages.speed import Speed
from hwnas.training.task import LearningTask
from lut import LatencyTable
from onnx_models.box_limits import BoxLimits
from profilers import Device
from profilers.runtime import runtime_of

CUDA_PROVIDERS = ("cuda", "CUDAExecutionProvider", "TensorrtExecutionProvider")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BundleInputs:
    """The network, its figures and the data that a bundle is made of.

    Attributes:
        summary: of the finished run, with the figures of the network that it holds in the winner's place.
        task: scores the models on the test images.
        task_name: tells classification from tasks of one's own.
        table: that latencies were predicted by.
        speed: how fast the machine was by it.
        model, dynamic_model: the network's files, of one batch size and of any.
        module: the network as it is deployed, in evaluation mode; None where the run has no weights of it any more.
        batch_size: of comparing outputs.
        network: its name in the run; None for the winner.
    """

    setup: Setup
    summary: Summary
    task: LearningTask
    task_name: str
    table: LatencyTable
    speed: Speed
    model: Path
    dynamic_model: Path
    module: nn.Module | None
    batch_size: int
    network: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleOptions:
    """The models that a bundle is to have besides those of floats.

    Attributes:
        int8: whether to quantize too.
        mixed: whether to choose the precision of each block too.
        fp16: whether to write half precision too; None for where the device computes in it.
        max_drop: of the score that int8 may cost on images not used for calibration.
        limits: of the boxes that models of a detector give.

    Raises:
        RequestError: mixed precision without int8.
    """

    int8: bool = True
    mixed: bool = False
    fp16: bool | None = None
    max_drop: float = 0.01
    limits: BoxLimits = field(default_factory=BoxLimits)

    def __post_init__(self) -> None:
        if self.mixed and not self.int8:
            raise RequestError("mixed precision takes its ranges as int8 does: leave int8 in")

    def require_possible(self, device: Device) -> None:
        """Make sure that a device can do what was asked for.

        Raises:
            RequestError: mixed precision, where nothing can be measured or int8 is not known.
        """
        if not self.mixed:
            return
        if not device.is_measurable or device.emulated:
            raise RequestError(
                f"mixed precision is chosen by measured latencies, and {device.name} gives none; leave it out"
            )
        if "int8" not in (known := runtime_of(device.runtime).precisions):
            raise RequestError(
                f"mixed precision needs a runtime that computes in int8, {device.runtime} of {device.name} takes "
                f"{', '.join(known)}; leave it out"
            )

    def has_fp16(self, device: Device) -> bool:
        """Return whether half precision is written for a device."""
        if self.fp16 is not None:
            return self.fp16
        return device.provider in CUDA_PROVIDERS or (device.target or "").startswith(("nvidia/", "cuda"))
