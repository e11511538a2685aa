"""The latency table and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from lut.cache import BlockSize, block_size
from lut.calibration import Calibration
from lut.certificate import Certificate
from lut.errors import TableError
from lut.layout import BlockLayout
from lut.networks import NetworkMeasurement
from lut.precision import Precision
from profilers import Device, Measurement
from profilers.estimate import estimate_ms, first_run_ms, split_half_errors
from profilers.pace import Pace
from profilers.slowdown import Slowdown, slowdown
from safe_files import WriteError, write_text
from search_spaces import Block, SpaceError, SpaceSpec

FORMAT = "hwnas-latency-table"
VERSION = 2

UNCALIBRATED_VERSION = 1
"""Tables of this version are read without their calibration, whose numbers meant something else, and their
certificate, which was of them: `hwnas lut refit` makes both anew from the samples."""

UNSETTLED = 0.05
"""A block whose estimates from odd and from even rounds differ by more has not converged."""


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class Provenance:
    """Where the numbers come from; tables that differ in any of these never mix.

    Attributes:
        device: the settings of the device that measurements depend on.
        worker: what the worker said: runtime version, CPU model, governor, cores.
        precision: of weights and activations.
        date: UTC, ISO 8601.
        rounds: interleaved rounds measured.
        stopped_by: what ended the measuring: "settled", "rounds" or "minutes"; "imported" or "adapted" otherwise.
        throttled_rounds: rounds that were repeated, since the device was throttled during them.
        num_groups: groups that models were split into to fit in memory.
        seed: of the order of visits and of the networks.
        onnx_sha256: hash of each block's ONNX file, by key.
        is_emulated: timed under an emulator, so that no number is a latency of the device.
    """

    device: Mapping[str, Any]
    worker: Mapping[str, Any]
    precision: str
    date: str
    rounds: int
    stopped_by: str = "rounds"
    num_groups: int = 1
    throttled_rounds: int = 0
    seed: int = 0
    onnx_sha256: Mapping[str, str]
    is_emulated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class ReportedLatency:
    """A block's latency that others measured, or that was carried over from another table: no samples are known.

    Attributes:
        count: samples that mean and standard deviation were taken of, where that is known.
    """

    key: str
    mean_ms: Annotated[float, Field(gt=0)]
    std_ms: Annotated[float, Field(ge=0)] | None = None
    count: int | None = None


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LatencyTable:
    """Measurements of every distinct block of a search space on one device.

    Attributes:
        space: the search space and its numbers.
        provenance: device, runtime, versions, protocol.
        entries: raw samples or the failure of every block; identities cost nothing and have no entry.
        reported: latencies of blocks without samples, in imported and adapted tables.
        networks: whole networks measured in the same rounds.
        layouts: what becomes of blocks' layout conversions in networks, by key, where the runtime has any.
        energy_mj: millijoules of one run by block key, on devices with a counter; absent, never zero.
        pace: of a fixed piece of work while the samples were taken and after; None where the worker tells none.
        calibration: correction of block sums, learnt from the networks for calibration.
        certificate: errors of the predictions on the held-out networks.
    """

    space: SpaceSpec
    provenance: Provenance
    entries: tuple[Measurement, ...]
    reported: tuple[ReportedLatency, ...] = ()
    networks: tuple[NetworkMeasurement, ...] = ()
    layouts: Mapping[str, BlockLayout] = field(default_factory=dict)
    energy_mj: Mapping[str, Annotated[float, Field(gt=0)]] = field(default_factory=dict)
    pace: Pace | None = None
    calibration: Calibration | None = None
    certificate: Certificate | None = None

    @cached_property
    def by_key(self) -> dict[str, Measurement]:
        """The entries by block key."""
        return {m.key: m for m in self.entries}

    @cached_property
    def estimates_ms(self) -> dict[str, float]:
        """Estimated milliseconds of every block and network by key, failed ones left out; derived once."""
        reported = {r.key: r.mean_ms for r in self.reported}
        return reported | estimate_ms([*self.entries, *(n.measurement for n in self.networks)])

    @cached_property
    def latency_ms(self) -> dict[str, float]:
        """Isolated milliseconds per block key, failed blocks left out."""
        networks = {n.measurement.key for n in self.networks}
        return {key: ms for key, ms in self.estimates_ms.items() if key not in networks}

    @cached_property
    def first_run_ms(self) -> dict[str, float]:
        """Milliseconds that blocks take more right after other models, by key; empty unless all blocks tell."""
        measured = [m for m in self.entries if m.error is None]
        found = first_run_ms(measured)
        return found if found.keys() >= self.latency_ms.keys() else {}

    def block_ms(self, key: str) -> float:
        """What a block adds to a network: its isolated latency, calibrated where the table is."""
        isolated = self.latency_ms[key]
        return isolated if self.calibration is None else self.calibration.block_ms(key, isolated)

    def block_size(self, block: Block) -> BlockSize:
        """Return what a block touches in a forward pass at the table's precision and batch size."""
        size = block_size(block, precision=cast(Precision, self.provenance.precision), batch=self.batch)
        return replace(size, first_run_ms=self.first_run_ms.get(block.key, 0.0))

    @property
    def offset_ms(self) -> float:
        """What a network takes besides its blocks."""
        return 0.0 if self.calibration is None else self.calibration.offset_ms

    @cached_property
    def split_half_errors(self) -> dict[str, float]:
        """Relative difference between odd and even sittings by key of blocks and networks."""
        return split_half_errors([*self.entries, *(n.measurement for n in self.networks)])

    @cached_property
    def unsettled(self) -> dict[str, float]:
        """The split-half errors of the blocks whose odd and even sittings still differ by more than 5 %."""
        keys = self.by_key
        return {key: e for key, e in self.split_half_errors.items() if key in keys and e > UNSETTLED}

    @cached_property
    def slowdown(self) -> Slowdown:
        """How much the machine was slowed while it measured, and so whether the milliseconds are to be believed."""
        device = self.provenance.device
        is_single = device["threads"] == 1 and device.get("provider", "cpu") == "cpu"
        return slowdown([*self.entries, *(n.measurement for n in self.networks)], self.pace, is_single=is_single)

    @property
    def failures(self) -> tuple[Measurement, ...]:
        """The entries that have an error instead of samples."""
        return tuple(m for m in self.entries if m.error is not None)

    def require_origin(
        self, space: SpaceSpec, device: Device, *, precision: str | None = None, name: str = "the table"
    ) -> None:
        """Raise TableError unless the table was measured for that space on that device with those settings.

        The precision is compared where one is given.
        """
        if self.space != space:
            raise TableError(f"{name} is for {self.space}, not for {space}; give another output or --fresh")
        if precision not in (None, self.provenance.precision):
            raise TableError(
                f"{name} holds {self.provenance.precision} latencies, not {precision}; give another output or --fresh"
            )
        wanted, found = device.settings(), dict(self.provenance.device)
        differing = sorted(k for k in {*wanted, *found} if wanted.get(k) != found.get(k))
        if differing:
            raise TableError(
                f"{name} was measured on {found.get('name')} with other settings ({', '.join(differing)}); "
                "give another output or --fresh"
            )

    @property
    def batch(self) -> int:
        """Images per forward pass."""
        return int(self.provenance.device["batch"])


_ADAPTER = TypeAdapter(LatencyTable)


def save_table(table: LatencyTable, path: Path) -> None:
    """Write the table, whole or not at all.

    Raises:
        TableError: there can be no file of that name.
        WriteError: there is no room for it, or nothing may be written there.
    """
    content = json.dumps(_ADAPTER.dump_python(table, mode="json"), separators=(",", ":"), sort_keys=True)
    text = f'{{"format":"{FORMAT}","version":{VERSION},"sha256":"{_digest(content, VERSION)}",\n"table":{content}}}\n'
    try:
        write_text(path, text)
    except WriteError:
        raise
    except OSError as error:
        raise TableError(f"cannot write {path}: {error.strerror}") from error


def load_table(path: Path) -> LatencyTable:
    """The table in a file.

    Raises:
        TableError: the file is missing, cut, changed since it was written, or not a table of this version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"cannot read the latency table {path}: {error.strerror}") from error
    except ValueError as error:  # malformed JSON and undecodable text alike
        raise TableError(f"{path} is damaged or no latency table ({error}); profile again or restore a copy") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TableError(f'{path} is no latency table: expected "format": "{FORMAT}"')
    version, content = document.get("version"), document.get("table")
    if version not in (UNCALIBRATED_VERSION, VERSION):
        raise TableError(f"{path} has schema version {version!r}, this release reads {VERSION}")
    if _digest(json.dumps(content, separators=(",", ":"), sort_keys=True), version) != document.get("sha256"):
        raise TableError(f"{path} was changed after it was written (checksum); profile again or restore a copy")
    if version == UNCALIBRATED_VERSION and isinstance(content, dict):
        content |= {"calibration": None, "certificate": None}
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise TableError(f"{path} does not follow the table schema: {where}: {first['msg']}; profile again") from error
    except SpaceError as error:
        raise TableError(f"{path} does not follow the table schema: {error}; profile again") from error


def _digest(content: str, version: int) -> str:
    """Return the hash of a table; of its version too, from the second one on."""
    prefix = "" if version == UNCALIBRATED_VERSION else f"{version}:"
    return hashlib.sha256(f"{prefix}{content}".encode()).hexdigest()
