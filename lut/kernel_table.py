"""Tables of kernels: fused operators as they ran in whole models, of any origin, on one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from lut.certificate import Certificate
from lut.errors import TableError
from lut.overhead import Overhead, Whole, fit_overhead
from lut.provenance import STRICT, Count, Sha256
from onnx_models.kernels import Kernel
from profilers import Device
from profilers.device import DeviceSettings
from profilers.dissection import TYPICAL, own_share, typical_times
from profilers.events import RunTimes
from profilers.session import ROUNDS_PER_RESTART

_Index = Annotated[int, Field(ge=0, lt=1_000_000)]
_Us = Annotated[int, Field(ge=0, lt=86_400_000_000)]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RanKernel:
    """A kernel in a model, by its number in the table, and the microseconds by the profiler at each visit."""

    kernel: _Index
    us: Annotated[tuple[_Us, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ProfiledModel:
    """A model that was taken apart.

    Attributes:
        name: its file's, as it was given.
        sha256: of that file.
        nodes: in the order that they ran.
        plain, profiled: of the whole at each visit, without the profiler and with it.

    Raises:
        ValueError: a column is of another number of visits.
    """

    name: Annotated[str, Field(min_length=1, max_length=4000)]
    sha256: Sha256
    nodes: Annotated[tuple[RanKernel, ...], Field(min_length=1)]
    plain: RunTimes
    profiled: RunTimes

    @model_validator(mode="after")
    def _visits_agree(self) -> ProfiledModel:
        columns = [t for times in (self.plain, self.profiled) for t in (times.wall_ns, times.cpu_ns)]
        if len({len(column) for column in (*columns, *(node.us for node in self.nodes))}) != 1:
            raise ValueError(f"{self.name}: expected as many times of each node and of the whole")
        return self

    @property
    def restarts(self) -> NDArray[np.int64]:
        """The restart of the worker that each visit was in, [num_visits]."""
        return np.arange(len(self.plain.wall_ns)) // ROUNDS_PER_RESTART


@dataclass(frozen=True, kw_only=True, config=STRICT)
class KernelTable:
    """Kernels and models as they ran on one device.

    Attributes:
        device, worker: the settings that measurements depend on, and what the worker said of itself.
        date: UTC, ISO 8601.
        visits: of each model, half of them under the profiler.
        kernels: distinct ones.
        models: those that were taken apart.
        failures: models that could not be, and why.
        certificate: errors of predictions for each model by all others; None of fewer than three models.

    Raises:
        ValueError: a kernel or a model is there twice, or a model has a kernel that is not there.
    """

    device: DeviceSettings
    worker: Mapping[str, Any]
    date: str
    visits: Count
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    is_emulated: bool = False
    kernels: Annotated[tuple[Kernel, ...], Field(min_length=1)]
    models: Annotated[tuple[ProfiledModel, ...], Field(min_length=1)]
    failures: Mapping[str, str] = field(default_factory=dict)
    certificate: Certificate | None = None

    @model_validator(mode="after")
    def _names_are_distinct(self) -> KernelTable:
        for names in ([k.key for k in self.kernels], [m.name for m in self.models]):
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{twice[0]} is there twice")
        largest = max(node.kernel for model in self.models for node in model.nodes)
        if largest >= len(self.kernels):
            raise ValueError(f"expected numbers of {len(self.kernels)} kernels, found {largest}")
        return self

    @cached_property
    def wholes(self) -> tuple[Whole, ...]:
        """Return what each model took, and its nodes by the profiler, drift of the machine removed."""
        levels = _levels(self.models)
        return tuple(_whole(model, levels) for model in self.models)

    @cached_property
    def overhead(self) -> Overhead:
        """Return what the profiler adds to nodes, by all models."""
        return fit_overhead(self.wholes)

    def kernel_ms(self, models: Sequence[int], overhead: Overhead) -> dict[int, float]:
        """Return what each kernel takes, by number: the median over the nodes of some of the models."""
        times_ms: dict[int, list[float]] = {}
        for place in models:
            corrected = overhead.corrected_ms(self.wholes[place].profiled_ms)
            for node, ms in zip(self.models[place].nodes, corrected.tolist(), strict=True):
                times_ms.setdefault(node.kernel, []).append(ms)
        return {number: float(np.median(several)) for number, several in times_ms.items()}

    def require_device(self, device: Device, worker: Mapping[str, object], *, name: str) -> None:
        """Raise TableError unless the kernels are those of a device and the runtime that is there now."""
        wanted, found = dict(device.settings()), dict(self.device)
        differing = sorted(k for k in {*wanted, *found} if wanted.get(k) != found.get(k))
        differing += [k for k in (device.runtime, "machine", "cpu_model") if worker.get(k) != self.worker.get(k)]
        if differing:
            told = {**self.worker, **found}
            here = {**worker, **wanted}
            first = differing[0]
            raise TableError(
                f"{name} has kernels measured with {first} {told.get(first)!r}, and {device.name} has "
                f"{here.get(first)!r} ({', '.join(differing)} differ), where other kernels come of a model: give the "
                "--device and --threads that it was measured on, or profile the kernels again"
            )


def _levels(models: Sequence[ProfiledModel]) -> dict[int, float]:
    """Return how slow the machine was in each restart of the worker: the median over the models."""
    ratios: dict[int, list[float]] = {}
    for model in models:
        plain_ns, restarts = _plain_ns(model), model.restarts
        for restart in np.unique(restarts).tolist():
            level = float(np.median(plain_ns[restarts == restart]) / np.median(plain_ns))
            ratios.setdefault(restart, []).append(level)
    return {restart: float(np.median(several)) for restart, several in ratios.items()}


def _plain_ns(model: ProfiledModel) -> NDArray[np.float64]:
    """Return what each run without the profiler took of the model's own, [num_visits]."""
    return np.asarray(model.plain.wall_ns, dtype=np.float64) * own_share(model.plain)


def _whole(model: ProfiledModel, levels: Mapping[int, float]) -> Whole:
    level = np.array([levels[restart] for restart in model.restarts.tolist()])
    times_us = np.array([node.us for node in model.nodes], dtype=np.float64) * own_share(model.profiled) / level
    return Whole(
        plain_ms=float(np.quantile(_plain_ns(model) / level, TYPICAL)) / 1e6,
        profiled_ms=typical_times(times_us) / 1e3,
    )


def split_half_error(model: ProfiledModel) -> float:
    """Return by how much a model's time differs between odd and even visits, relative to it."""
    plain_ns = _plain_ns(model)
    if len(plain_ns) < 2:
        return 0.0
    odd, even = float(np.median(plain_ns[1::2])), float(np.median(plain_ns[::2]))
    return abs(odd - even) / (0.5 * (odd + even))
