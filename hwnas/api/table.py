"""Latency tables with the search space that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from hwnas.api import checks
from hwnas.api.checks import File
from hwnas.api.frames import frame
from hwnas.api.settings import require_known
from hwnas.api.spaces import Shape, convert, space
from hwnas.errors import RequestError
from hwnas.pipeline.table_space import space_of
from hwnas.profiling import known_precision
from hwnas.progress import Reporter
from hwnas.table_request import TableRequest
from lut import LatencyModel, TableError
from lut import LatencyTable as TableRecord
from lut import load_table as read_table
from lut.certificate import Certificate
from lut.model import predict_ms
from profilers.device import adjusted, find_device
from search_spaces import Architecture, SearchSpace
from search_spaces.registry import NETWORK_SUFFIX
from search_spaces.traced.file import save_space
from search_spaces.traced.space import TracedSpace

if TYPE_CHECKING:
    import pandas as pd

BLOCK_COLUMNS = ("block", "ms", "spread", "samples", "error")
NETWORK_COLUMNS = ("architecture", "role", "measured_ms", "predicted_ms", "error")


class LatencyTable:
    """Measurements of every block of a search space on one device, and predictions from them.

    Args:
        record: what the file holds.
        space: that it is of.
        path: the file.
    """

    def __init__(self, record: TableRecord, space: SearchSpace, path: Path) -> None:
        self.record = record
        self.space = space
        self.path = path

    def __repr__(self) -> str:
        return f"LatencyTable({self.record.space} on {self.device}, {len(self.record.latency_ms)} blocks)"

    @property
    def device(self) -> str:
        """The name of the device that was measured."""
        return self.record.provenance.device["name"]

    @property
    def certificate(self) -> Certificate | None:
        """The errors of predictions on networks that nothing was fitted to; None where none were measured."""
        return self.record.certificate

    @property
    def model(self) -> LatencyModel:
        """The model that predicts latencies by the table.

        Raises:
            MissingLatencyError: a block of the space was not measured.
        """
        return LatencyModel(self.space, self.record, name=str(self.path))

    def predict(self, architectures: ArrayLike) -> NDArray[np.float64]:
        """Return the predicted latency of architectures, [num] milliseconds of one forward pass.

        Args:
            architectures: one, or [num, num_decisions]; choice indices.

        Raises:
            SpaceError: an architecture is none of the space.
            MissingLatencyError: a block was never measured.
        """
        try:
            is_one = np.ndim(architectures) == 1
        except ValueError:  # lists of different lengths
            is_one = False
        return self.model.predict_ms(self.space.as_array(np.asarray(architectures)[None] if is_one else architectures))

    def fastest(self) -> tuple[Architecture, float]:
        """Return the architecture that is predicted to be the fastest, and its milliseconds."""
        return self.model.extreme()

    def slowest(self) -> tuple[Architecture, float]:
        """Return the architecture that is predicted to be the slowest, and its milliseconds."""
        return self.model.extreme(slowest=True)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for every block: its key, median milliseconds, spread and number of samples, or its error.

        Raises:
            RequestError: pandas is not installed.
        """
        entries, rows = self.record.by_key, []
        for key, ms in self.record.latency_ms.items():
            entry = entries.get(key)
            measured = {} if entry is None else {"spread": entry.spread, "samples": entry.num_samples}
            rows.append({"block": key, "ms": ms, **measured})
        rows += [{"block": m.key, "error": m.error} for m in self.record.failures]
        return frame(rows, BLOCK_COLUMNS)

    def networks_to_pandas(self) -> pd.DataFrame:
        """Return a row for every whole network that was measured: what it took, and what is predicted.

        `role` is calibration or held_out; only the latter tell how good predictions are. `error` is relative.

        Raises:
            RequestError: pandas is not installed.
        """
        networks = [n for n in self.record.networks if n.measurement.error is None]
        if not networks:
            return frame([], NETWORK_COLUMNS)
        predicted = predict_ms(self.record, self.space, np.array([n.architecture for n in networks]))
        rows = []
        for network, ms in zip(networks, predicted, strict=True):
            measured = self.record.estimates_ms[network.measurement.key]
            rows.append(
                {
                    "architecture": network.architecture,
                    "role": network.role,
                    "measured_ms": measured,
                    "predicted_ms": float(ms),
                    "error": float(ms) / measured - 1.0,
                }
            )
        return frame(rows, NETWORK_COLUMNS)


class ProfileArguments(TypedDict, total=False):
    """Arguments that are named and mean what the flags of `hwnas profile` do."""

    devices: File
    threads: int
    batch: int
    tuning: str
    precision: str
    networks: int
    rounds: int
    max_minutes: float
    memory_mb: float
    percentile: int
    seed: int


def profile(
    subject: SearchSpace | nn.Module | str,
    device: str = "cpu",
    *,
    output: File | None = None,
    input_shape: Shape | None = None,
    fresh: bool = False,
    quiet: bool = False,
    **work: Unpack[ProfileArguments],
) -> LatencyTable:
    """Measure every block of a search space on a device into a table; one that is there already is read.

    Args:
        subject: a search space, its name at 224 pixels, or a network of your own.
        device: see `hwnas devices`.
        output: the table's file; by default `SPACE.DEVICE.lut.json` in the current folder.
        input_shape: channels, height and width of an image, of a network that is a module.
        fresh: discard what is there, and measure again.
        work: how much is measured, and how, as the flags of `hwnas profile`.

    Raises:
        RequestError: the request is wrong.
        TypeError: there is no such argument.
        TableError: the file is the table of another space, device or precision.
    """
    checked = _checked_work(work)
    device = checks.text("device", device, "cpu")
    made = _space_of(subject, input_shape)
    usual = f"{made.spec.name.rpartition('/')[2]}.{device}.lut.json"
    path = checks.file("output", usual if output is None else output)
    found = find_device(device, checked.get("devices"))
    chosen = adjusted(found, **{name: checked[name] for name in ("threads", "batch", "tuning") if name in checked})
    request = TableRequest(
        precision=known_precision(checked.get("precision", "fp32")),
        **{name: checked[name] for name in (*_WHOLE, *_NUMBERS) if name in checked},
    )
    profiler, reporter = request.profiler(chosen), Reporter(is_quiet=quiet)
    record = request.made(made, path, profiler, is_fresh=fresh, reporter=reporter)
    if isinstance(made, TracedSpace):
        save_space(made, network_beside(path))
    return LatencyTable(record, made, path)


def load_table(path: File, space: SearchSpace | str | None = None) -> LatencyTable:
    """Return the table in a file with its search space.

    Args:
        space: where the file of the space has moved; None for that of the table's name.

    Raises:
        TableError: the file is no table, or damaged.
        SpaceError: its space is not there, or another.
    """
    path = checks.file("path", path)
    if space is not None and not isinstance(space, SearchSpace):
        space = checks.text("space", space, "fbnet-s")
    record = read_table(path)
    if isinstance(space, SearchSpace):
        if not record.space.has_networks_of(space.spec):
            raise TableError(f"{path} is of {record.space}, not of {space.spec}: give the space that it was made for")
        return LatencyTable(record, space, path)
    beside = network_beside(path)
    if space is None and record.space.network_hash is not None and beside.is_file():
        space = str(beside)
    return LatencyTable(record, space_of(record, path, space), path)


def network_beside(path: Path) -> Path:
    """Return the file of the network that a table is of, beside it."""
    return path.with_name(f"{path.name.removesuffix('.json')}{NETWORK_SUFFIX}")


_WHOLE, _NUMBERS = ("networks", "rounds", "percentile", "seed"), ("max_minutes", "memory_mb")
"""Arguments of `profile` that are whole numbers, and others that are numbers; `adjusted` checks those of the device."""


def _checked_work(work: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `profile` that are given, None left out.

    Raises:
        RequestError: one is of another type, or out of range.
        TypeError: there is no such argument.
    """
    require_known(work, ProfileArguments)
    found = {name: checks.plain(value) for name, value in work.items() if value is not None}
    for name, value in found.items():
        if name in _WHOLE:
            found[name] = checks.whole(name, value)
        elif name in _NUMBERS:
            found[name] = checks.number(name, value)
        elif name == "devices":
            found[name] = checks.file(name, value)
        elif name == "precision":
            found[name] = checks.text(name, value, "fp32")
    return found


def _space_of(subject: SearchSpace | nn.Module | str, input_shape: Shape | None) -> SearchSpace:
    if isinstance(subject, SearchSpace):
        return subject
    if isinstance(subject, str) and not is_network(subject):
        return space(subject)
    if isinstance(subject, nn.Module) and input_shape is None:
        raise RequestError("a network does not say which images it takes: give input_shape=(channels, height, width)")
    return convert(subject, input_shape)


def is_network(name: str) -> bool:
    """Return whether a name is that of a network in a file, rather than of a search space."""
    return name.endswith((".onnx", ".pt2"))
