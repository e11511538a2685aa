"""The latency table and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from lut.cache import BlockSize, block_size
from lut.calibration import Calibration
from lut.certificate import Certificate
from lut.errors import LaterTableError, TableError
from lut.layout import BlockLayout
from lut.networks import NetworkMeasurement
from lut.provenance import ADAPTED, IMPORTED, STRICT, Count, Latency, NotNegative, Provenance
from profilers import Device, Measurement
from profilers.estimate import estimate_ms, first_run_ms, split_half_errors
from profilers.pace import Pace
from profilers.slowdown import Slowdown, slowdown
from safe_files import FileError, WriteError, first_fault, read_json, write_text
from search_spaces import Block, SearchSpace, SpaceSpec

FORMAT = "hwnas-latency-table"
VERSION = 2

UNCALIBRATED_VERSION = 1
"""Tables of this version are read without their calibration, whose numbers meant something else, and their
certificate, which was of them: `hwnas lut refit` makes both anew from the samples."""

UNSETTLED = 0.05
"""A block whose estimates from odd and from even restarts differ by more has not converged."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ReportedLatency:
    """A block's latency that others measured, or that was carried over from another table: no samples are known.

    Attributes:
        count: samples that mean and standard deviation were taken of, where that is known.
    """

    key: str
    mean_ms: Latency
    std_ms: NotNegative | None = None
    count: Count | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
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

    Raises:
        ValueError: a value means nothing, a block or network is there twice, or what is said of blocks and networks
            is not of those in the table.
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

    @model_validator(mode="after")
    def _keys_are_distinct(self) -> LatencyTable:
        seen: set[str] = set()
        for key in (
            *(m.key for m in self.entries),
            *(r.key for r in self.reported),
            *(n.measurement.key for n in self.networks),
        ):
            if key in seen:
                raise ValueError(f"{key} is there twice")
            seen.add(key)
        return self

    @model_validator(mode="after")
    def _blocks_are_known(self) -> LatencyTable:
        reported = {r.key for r in self.reported}
        blocks = reported | {m.key for m in self.entries}
        _require_known("layouts", self.layouts, blocks)
        _require_known("energy_mj", self.energy_mj, blocks)
        if self.calibration is not None:
            usable = reported | {m.key for m in self.entries if m.error is None}
            _require_known("calibration", self.calibration.factors, blocks)
            if left_out := sorted(usable - self.calibration.factors.keys()):
                raise ValueError(f"calibration: nothing is said of {left_out[0]}")
        return self

    @model_validator(mode="after")
    def _networks_are_counted(self) -> LatencyTable:
        if len({len(n.architecture) for n in self.networks}) > 1:
            raise ValueError("networks: expected as many decisions in each of them")
        for role, fitted in (("calibration", self.calibration), ("held_out", self.certificate)):
            measured = sum(n.role == role and n.measurement.error is None for n in self.networks)
            if fitted is not None and fitted.num_networks > measured:
                raise ValueError(f"expected at most {measured} {role} networks, found {fitted.num_networks}")
        return self

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
        """Return what a block adds to a network: its isolated latency, calibrated where the table is."""
        isolated = self.latency_ms[key]
        return isolated if self.calibration is None else self.calibration.block_ms(key, isolated)

    def block_size(self, block: Block) -> BlockSize:
        """Return what a block touches in a forward pass at the table's precision and batch size."""
        size = block_size(block, precision=self.provenance.precision, batch=self.batch)
        return replace(size, first_run_ms=self.first_run_ms.get(block.key, 0.0))

    @property
    def offset_ms(self) -> float:
        """The milliseconds that a network takes besides its blocks."""
        return 0.0 if self.calibration is None else self.calibration.offset_ms

    @cached_property
    def split_half_errors(self) -> dict[str, float]:
        """Relative difference between odd and even restarts by key of blocks and networks."""
        return split_half_errors([*self.entries, *(n.measurement for n in self.networks)])

    @cached_property
    def unsettled(self) -> dict[str, float]:
        """The split-half errors of the blocks whose odd and even restarts still differ by more than 5 %."""
        keys = self.by_key
        return {key: e for key, e in self.split_half_errors.items() if key in keys and e > UNSETTLED}

    @cached_property
    def slowdown(self) -> Slowdown:
        """The slowdown of the machine while it measured, which tells whether the milliseconds are to be believed."""
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
        if not self.space.has_networks_of(space):
            raise TableError(f"{name} is for {self.space}, not for {space}; give another output or --fresh")
        if precision not in (None, self.provenance.precision):
            raise TableError(
                f"{name} holds {self.provenance.precision} latencies, not {precision}; give another output or --fresh"
            )
        wanted, found = dict(device.settings()), dict(self.provenance.device)
        differing = sorted(k for k in {*wanted, *found} if wanted.get(k) != found.get(k))
        if differing:
            raise TableError(
                f"{name} was measured on {found.get('name')} with other settings ({', '.join(differing)}); "
                "give another output or --fresh"
            )

    def missing(self, space: SearchSpace) -> list[str]:
        """Return the keys of the blocks of a space that the table has no latency of, in the order of the space."""
        return [key for key in block_keys(space) if key not in self.latency_ms]

    def foreign(self, space: SearchSpace) -> list[str]:
        """Return the keys of the blocks that a space does not have; published tables may be of more than one space."""
        if self.is_imported:
            return []
        return sorted({*self.by_key, *(r.key for r in self.reported)} - set(block_keys(space)))

    def require_blocks_of(self, space: SearchSpace, *, name: str = "the table") -> None:
        """Raise TableError where the table holds blocks that the space, which has changed since, does not have."""
        if foreign := self.foreign(space):
            raise TableError(
                f"{name} holds {foreign[0]}, which {space.spec.name} no longer has ({len(foreign)} such blocks): the "
                "space was changed after it was measured; profile it again with --fresh"
            )

    @property
    def is_imported(self) -> bool:
        """Whether others published it, for a device that need not be at hand."""
        return self.provenance.stopped_by == IMPORTED

    @property
    def is_adapted(self) -> bool:
        """Whether it was made from another table and a few measured networks."""
        return self.provenance.stopped_by == ADAPTED

    @property
    def batch(self) -> int:
        """Images per forward pass."""
        return self.provenance.device["batch"]

    @property
    def opset(self) -> int | None:
        """ONNX operator set of the models; None where their device asks for none."""
        return self.provenance.device.get("opset")


def block_keys(space: SearchSpace) -> list[str]:
    """Return the keys of the distinct blocks of a space that take time, in order."""
    return list(dict.fromkeys(b.key for b in space.candidates if not b.is_identity))


_ADAPTER = TypeAdapter(LatencyTable)


def save_table(table: LatencyTable, path: Path | str) -> None:
    """Write the table, whole or not at all.

    Raises:
        TableError: there can be no file of that name, or a text cannot be printed, so that it would not be read again.
        WriteError: there is no room for it, or nothing may be written there.
    """
    said = _ADAPTER.dump_python(table, mode="json", by_alias=True) | {"space": table.space.as_dict()}
    _require_printable(said, path)
    content = _canonical(said)
    text = f'{{"format":"{FORMAT}","version":{VERSION},"sha256":"{_digest(content, VERSION)}",\n"table":{content}}}\n'
    try:
        write_text(Path(path), text)
    except WriteError:
        raise
    except OSError as error:
        raise TableError(f"cannot write {path}: {error.strerror}") from error


def load_table(path: Path | str) -> LatencyTable:
    """Read the table in a file.

    Raises:
        TableError: the file is missing, cut, changed since it was written, not a table of this version, says what no
            table can say, or has texts that would steer a terminal.
    """
    path = Path(path)
    try:
        document = read_json(path)
    except FileError as error:
        if error.__cause__ is None or isinstance(error.__cause__, OSError):  # it was not read at all
            why = str(error).removeprefix(f"cannot read {path}: ")
            raise TableError(f"cannot read the latency table {path}: {why}") from error
        raise TableError(f"{path} is damaged or no latency table ({error}); profile again or restore a copy") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TableError(f'{path} is no latency table: expected "format": "{FORMAT}"')
    _require_printable(document, path)
    version, content = document.get("version"), document.get("table")
    if type(version) is int and version > VERSION:
        raise LaterTableError(
            f"{path} was written by a later version of hwnas (schema version {version}, this one reads {VERSION}): use "
            "that one, or profile again"
        )
    if type(version) is not int or version not in (UNCALIBRATED_VERSION, VERSION):
        raise TableError(f"{path} has schema version {version!r}, this release reads {VERSION}")
    if _digest(_canonical(content), version) != document.get("sha256"):
        raise TableError(f"{path} was changed after it was written (checksum); profile again or restore a copy")
    if version == UNCALIBRATED_VERSION and isinstance(content, dict):
        content |= {"calibration": None, "certificate": None}
    try:
        # As JSON: there a list may be a tuple, and yet true is no number and "1" neither.
        return _ADAPTER.validate_json(_canonical(content), strict=True)
    except ValidationError as error:
        raise TableError(
            f"{path} does not follow the table schema: {first_fault(error, whole='the table')[0]}; profile again"
        ) from error


def _require_printable(content: object, path: Path | str) -> None:
    """Raise TableError where a text or a name in a table's file would steer the terminal that it is shown on."""
    level = [content]
    while level:
        inner: list[object] = []
        for part in level:
            if isinstance(part, str):
                if not part.isprintable():
                    raise TableError(f"{path}: expected texts of printable characters, found {ascii(part)[:80]}")
            elif isinstance(part, dict):
                inner += [*part.keys(), *part.values()]
            elif isinstance(part, list):
                inner += part
        level = inner


def _canonical(content: object) -> str:
    return json.dumps(content, separators=(",", ":"), sort_keys=True)


def _digest(content: str, version: int) -> str:
    """Return the hash of a table; of its version too, from the second one on."""
    prefix = "" if version == UNCALIBRATED_VERSION else f"{version}:"
    return hashlib.sha256(f"{prefix}{content}".encode()).hexdigest()


def _require_known(what: str, keys: Iterable[str], known: set[str]) -> None:
    if strange := sorted(set(keys) - known):
        raise ValueError(f"{what}: {strange[0]} is no block of the table")
