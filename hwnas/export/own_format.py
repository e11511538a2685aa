"""A network in the own format of the device's runtime, proven by what that runtime computes from it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnx_models.precision import Precision
from profilers import Device
from profilers.computing import RuntimeNetwork
from profilers.conversion import converted
from profilers.errors import ConversionError, MeasurementError
from profilers.runtime import Runtime, runtime_of
from safe_files import sha256_of

Score = Callable[[Callable[[torch.Tensor], torch.Tensor]], Mapping[str, float]]
"""Returns the test metrics of a network."""


PRECISIONS: Mapping[str, Precision] = {"model.onnx": "fp32", "model.int8.onnx": "int8", "model.mixed.onnx": "int8"}
"""The models of a bundle that are written in the own format of the device's runtime too, and what it must know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnFormat:
    """A model in a runtime's own format.

    Attributes:
        files: the model's own first, then those of its weights.
        test_metrics: of what the runtime computes from them.
    """

    files: tuple[Path, ...]
    test_metrics: Mapping[str, float]

    @property
    def name(self) -> str:
        """The name of the model's own file."""
        return self.files[0].name

    def as_dict(self) -> dict[str, Any]:
        """Return what a bundle tells of the files."""
        hashes = {file.name: sha256_of(file) for file in self.files}
        return {
            "sha256": hashes.pop(self.name),
            "weights": hashes,
            "size_bytes": sum(file.stat().st_size for file in self.files),
            "test_metrics": dict(self.test_metrics),
        }


def taken_by(runtime: Runtime, names: Sequence[str]) -> list[str]:
    """Return the models that a runtime can take: all where it reads ONNX, else those that have a format of its own."""
    return [name for name in names if runtime.reads_onnx or PRECISIONS.get(name) in runtime.precisions]


def write_own_formats(
    folder: Path, names: Collection[str], device: Device, score: Score, tell: Callable[[str], None]
) -> dict[str, OwnFormat]:
    """Write models of a folder in the own format of the device's runtime beside them, where it has one.

    Args:
        score: told what the runtime computes from the files that are written.
        tell: told of models that cannot be converted, and where the runtime is not on this machine.
    """
    runtime = runtime_of(device.runtime)
    found = {}
    for name, precision in PRECISIONS.items():
        if runtime.converter is None or name not in names or precision not in runtime.precisions:
            continue
        try:
            found[name] = _written(folder / name, device, runtime, score)
        except (ConversionError, MeasurementError) as error:
            tell(f"{name} is not there in {device.runtime}'s own format: {error}")
    return found


def _written(model: Path, device: Device, runtime: Runtime, score: Score) -> OwnFormat:
    archive = converted(model, runtime, arithmetic=device.arithmetic, timeout_s=device.open_timeout_s)
    with RuntimeNetwork(device, archive) as network:

        def outputs(x_NCHW: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(network(x_NCHW.contiguous().numpy()).astype(np.float32))

        metrics = score(outputs)
    return OwnFormat(files=_unpacked(archive, model, runtime.own_suffixes), test_metrics=metrics)


def _unpacked(archive: Path, model: Path, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    """Write the members of an archive that belong to the format beside the model, under its name."""
    files = []
    with zipfile.ZipFile(archive) as members:
        for suffix in suffixes:
            (name,) = (name for name in members.namelist() if Path(name).suffix == suffix)
            files.append(model.with_suffix(suffix))
            files[-1].write_bytes(members.read(name))
    return tuple(files)
